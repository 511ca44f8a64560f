package control

import "net/http"

// routes is the table of package api's comment.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.handle(mux, "GET /v1/status", s.status)
	s.handle(mux, "GET /v1/metrics", s.metrics)
	s.handle(mux, "POST /v1/shutdown", s.shutdown)
	s.handle(mux, "GET /v1/rooms", s.rooms)
	s.handle(mux, "POST /v1/rooms", s.create)
	s.handle(mux, "POST /v1/join", s.join)
	s.handle(mux, "GET /v1/peers", s.peers)
	s.handle(mux, "GET /v1/mounts", s.mounts)
	s.handle(mux, "POST /v1/mount", s.mount)
	s.handle(mux, "POST /v1/umount", s.unmount)
	s.handle(mux, "POST /v1/serve", s.serve)
	s.handle(mux, "POST /v1/fsck", s.fsck)

	s.handleRequested(mux, "GET", "", s.room)
	s.handleRequested(mux, "DELETE", "", s.leave)
	s.handleRoom(mux, "POST", "/invite", s.invite)
	s.handleRoom(mux, "GET", "/invites", s.invites)
	s.handleRoom(mux, "POST", "/revoke", s.revoke)
	s.handleRequested(mux, "GET", "/members", s.members)
	s.handleRoom(mux, "POST", "/admit", s.admit)
	s.handleRoom(mux, "POST", "/refuse", s.refuse)
	s.handleRoom(mux, "POST", "/role", s.setRole)
	s.handleRequested(mux, "POST", "/recover", s.recover)
	s.handleRoom(mux, "POST", "/remove", s.remove)

	s.handleRoom(mux, "GET", "/stat", s.stat)
	s.handleRoom(mux, "GET", "/list", s.list)
	s.handleRoom(mux, "GET", "/content", s.read)
	s.handleRoom(mux, "PUT", "/content", s.write)
	s.handleRoom(mux, "POST", "/put", s.put)
	s.handleRoom(mux, "POST", "/get", s.get)
	s.handleRoom(mux, "POST", "/mkdir", s.mkdir)
	s.handleRoom(mux, "POST", "/move", s.move)
	s.handleRoom(mux, "POST", "/delete", s.delete)
	s.handleRoom(mux, "POST", "/restore", s.restore)
	s.handleRoom(mux, "GET", "/trash", s.trash)
	s.handleRoom(mux, "POST", "/mark", s.mark)
	s.handleRoom(mux, "GET", "/marks", s.marks)
	s.handleRoom(mux, "GET", "/log", s.history)
	s.handleRoom(mux, "GET", "/diff", s.diff)
	s.handleRoom(mux, "GET", "/conflicts", s.conflicts)
	s.handleRoom(mux, "POST", "/sync", s.sync)
	s.handleRoom(mux, "GET", "/watch", s.watch)

	s.handleRoom(mux, "GET", "/quarantine", s.quarantine)
	s.handleRoom(mux, "POST", "/export", s.export)
	s.handleRoom(mux, "POST", "/adopt", s.adopt)

	s.handleRoom(mux, "GET", "/space", s.space)
	s.handleRoom(mux, "POST", "/gc", s.gc)
	s.handleRoom(mux, "GET", "/retention", s.retention)
	s.handleRoom(mux, "POST", "/retention", s.setRetention)
	s.handleRoom(mux, "GET", "/keep", s.keeping)
	s.handleRoom(mux, "POST", "/keep", s.keep)
	s.handleRoom(mux, "POST", "/pin", s.pin)

	s.handleRoom(mux, "POST", "/say", s.say)
	s.handleRoom(mux, "POST", "/send", s.send)
	s.handleRoom(mux, "GET", "/history", s.messages)
	s.handleRoom(mux, "GET", "/tail", s.tail)
	return mux
}
