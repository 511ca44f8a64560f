package control

import (
	"context"
	"encoding/hex"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/serve/api"
)

// textWait is how long a message in a stream may wait for its text, which is
// mostly there already or nowhere.
const textWait = 5 * time.Second

// maxWaiting bounds the messages shown that do not count yet.
const maxWaiting = 100

func messageOf(m chat.Message, who names) api.Message {
	out := api.Message{
		ID: m.ID.String(), Time: m.Time, Author: m.Author.String(), By: who.of(m.Author), Text: m.Text,
		Edited: m.Edited, Deleted: m.Deleted, Pending: m.Pending, Missing: m.Missing, Self: m.Self,
	}
	if !m.ReplyTo.IsZero() {
		out.ReplyTo = m.ReplyTo.String()
	}
	for _, f := range m.Files {
		out.Files = append(out.Files, api.Attachment{
			Path: api.Text(f.Path), Name: api.Text(f.Name), Version: f.Version.String(), Node: hex.EncodeToString(f.Node[:]), Size: f.Size, MIME: f.MIME,
		})
	}
	for _, r := range m.Reactions {
		if out.Reactions == nil {
			out.Reactions = map[string][]string{}
		}
		for _, by := range r.By {
			out.Reactions[r.Emoji] = append(out.Reactions[r.Emoji], who.of(by))
		}
	}
	return out
}

// messageID finds the message that is meant.
func messageID(at Room, text string) (key.Hash, error) {
	id, err := at.Chat().Resolve(text)
	if err != nil {
		return id, AsError(err).With("`pearbox history ROOM --ids` shows the ids of messages, with `-n 0` of all")
	}
	return id, nil
}

func (s *Server) say(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.SayRequest](w, r)
	if err != nil {
		return nil, err
	}
	var opt chat.SayOptions
	if req.ReplyTo != "" {
		if opt.ReplyTo, err = messageID(at, req.ReplyTo); err != nil {
			return nil, err
		}
	}
	m, err := at.Chat().Say(r.Context(), req.Text, opt)
	if err != nil {
		return nil, err
	}
	return messageOf(m, namesOf(at)), nil
}

func (s *Server) unsay(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.UnsayRequest](w, r)
	if err != nil {
		return nil, err
	}
	id, err := messageID(at, req.ID)
	if err != nil {
		return nil, err
	}
	return nil, at.Chat().Delete(r.Context(), id)
}

func (s *Server) edit(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.EditRequest](w, r)
	if err != nil {
		return nil, err
	}
	id, err := messageID(at, req.ID)
	if err != nil {
		return nil, err
	}
	m, err := at.Chat().Edit(r.Context(), id, req.Text)
	if err != nil {
		return nil, err
	}
	return messageOf(m, namesOf(at)), nil
}

func (s *Server) react(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.ReactRequest](w, r)
	if err != nil {
		return nil, err
	}
	id, err := messageID(at, req.ID)
	if err != nil {
		return nil, err
	}
	m, err := at.Chat().React(r.Context(), id, req.Emoji, !req.Off)
	if err != nil {
		return nil, err
	}
	return messageOf(m, namesOf(at)), nil
}

func (s *Server) send(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	req, err := decode[api.SendRequest](w, r)
	if err != nil {
		return nil, err
	}
	uploads, total, err := openUploads(req.Files)
	defer func() {
		for _, u := range uploads {
			u.File.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	return s.streamed(w, r, false, func(ctx context.Context, out *stream) (any, error) {
		var done atomic.Int64
		m, err := at.Chat().Send(ctx, uploads, chat.SendOptions{Text: req.Text, Dir: string(req.Path), Progress: func(n int64) {
			out.progress(api.Progress{Phase: "read", Bytes: done.Add(n), TotalBytes: total, TotalFiles: int64(len(uploads))})
		}})
		if err != nil {
			return nil, readErr(err, func(path string) bool {
				return slices.ContainsFunc(uploads, func(u chat.Upload) bool { return u.File.Name() == path })
			})
		}
		return messageOf(m, namesOf(at)), nil
	})
}

// openUploads opens local files and adds up their sizes. What it opened is returned
// also with an error.
func openUploads(paths []api.Text) (uploads []chat.Upload, total int64, err error) {
	for _, p := range paths {
		local, err := localPath(p)
		if err != nil {
			return uploads, 0, err
		}
		f, err := os.Open(local)
		if err != nil {
			return uploads, 0, localErr(err)
		}
		uploads = append(uploads, chat.Upload{File: f})
		st, err := f.Stat()
		if err != nil {
			return uploads, 0, localErr(err)
		}
		if !st.Mode().IsRegular() {
			return uploads, 0, api.Errorf(api.WrongKind, "%s is not a file", local).With("`pearbox put` takes directories; then say where it is")
		}
		total += st.Size()
	}
	return uploads, total, nil
}

func (s *Server) messages(_ http.ResponseWriter, r *http.Request, at Room) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	var before key.Hash
	if text := r.URL.Query().Get("before"); text != "" {
		if before, err = messageID(at, text); err != nil {
			return nil, err
		}
	}
	page, err := lastMessages(r.Context(), at.Chat(), limit, before)
	if err == nil && before.IsZero() {
		var waiting []chat.Message
		waiting, err = at.Chat().Waiting(r.Context(), maxWaiting)
		page = append(page, waiting...)
	}
	if err != nil {
		return nil, err
	}
	who, list := namesOf(at), []api.Message{}
	for _, m := range page {
		list = append(list, messageOf(m, who))
	}
	return list, nil
}

// lastMessages returns the last limit messages before one, oldest first; limit 0 is
// all of them.
func lastMessages(ctx context.Context, c *chat.Chat, limit int, before key.Hash) ([]chat.Message, error) {
	var all []chat.Message // newest first
	for limit == 0 || len(all) < limit {
		n := chat.MaxPage
		if limit > 0 {
			n = min(n, limit-len(all))
		}
		page, err := c.History(ctx, chat.Page{Before: before, Limit: n})
		if err != nil {
			return nil, err
		}
		slices.Reverse(page)
		all = append(all, page...)
		if len(page) < n {
			break
		}
		before = page[len(page)-1].ID
	}
	slices.Reverse(all)
	return all, nil
}

func (s *Server) tail(w http.ResponseWriter, r *http.Request, at Room) (any, error) {
	limit, err := limitOf(r)
	if err != nil {
		return nil, err
	}
	c := at.Chat()
	return s.streamed(w, r, true, func(ctx context.Context, out *stream) (any, error) {
		// Watching starts before the page is read, so that nothing falls between them.
		var q queue[chat.Change]
		defer c.Watch(q.put)()
		told := map[key.Hash]bool{}
		if limit > 0 {
			page, err := lastMessages(ctx, c, limit, key.Hash{})
			if err != nil {
				return nil, err
			}
			who := namesOf(at)
			for _, m := range page {
				told[m.ID] = true
				if err := out.item(messageOf(m, who), true); err != nil {
					return nil, nil
				}
			}
		}
		for {
			all, err := q.take(ctx, out)
			if err != nil {
				return nil, nil
			}
			if err := tellNew(ctx, at, out, all, told); err != nil {
				return nil, err
			}
		}
	})
}

// tellNew sends the messages that are new in changes and that were not told yet.
func tellNew(ctx context.Context, at Room, out *stream, changes []chat.Change, told map[key.Hash]bool) error {
	who := namesOf(at)
	for _, ch := range changes {
		for _, id := range ch.New {
			if told[id] {
				continue
			}
			wait, cancel := context.WithTimeout(ctx, textWait)
			m, err := at.Chat().Message(wait, id)
			cancel()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if m.ID.IsZero() {
				continue // gone again
			}
			if err != nil {
				m.Missing = true
			}
			told[id] = true
			if err := out.item(messageOf(m, who), true); err != nil {
				return err
			}
		}
	}
	return nil
}
