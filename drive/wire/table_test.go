package wire

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// hostile says where each kind of hostile behaviour is tested more closely: package directory and test. In TestHostileMembers each is
// acted towards a real room.
var hostile = []struct {
	what  string
	tests []string
}{
	{"flipped bits", []string{"wire TestFlippedBits", "wire TestOnlyALiar", "wire TestLiarGoes", "core TestMutateTail", "core TestMutateBlockProof", "blob TestFrameRefusesEveryChange", "store TestPartialRefuses"}},
	{"truncated and endless frames", []string{"wire TestMalformedControl", "wire TestMalformedRequests", "wire TestLyingAnswers", "wire TestLaneAfterLast", "wire FuzzAnswer", "core TestTruncateEverything"}},
	{"lying lengths and heads", []string{"wire TestLyingHeads", "wire TestTooManyHeads", "core TestLyingLength", "core TestLies", "core TestOlderHead"}},
	{"wrong proofs", []string{"wire TestWrongProof", "wire TestReflection", "wire TestBetween", "wire TestLyingAnswers", "core TestMutateTail", "blob TestFrameRefusesEveryChange"}},
	{"replay", []string{"wire TestReplay", "core TestReplay", "room TestForeignCoresAreDropped"}},
	{"reordering", []string{"wire TestLyingHeads", "room TestConvergence"}},
	{"equivocation at any length", []string{"core TestForksAtEveryLength", "core TestForkBeyond", "room TestForksConverge", "room TestManyForks", "room TestManyHistories", "room TestLongForksConverge"}},
	{"forged authors and roles", []string{"wire TestForgedReaderEntries", "room TestForgedEntriesDoNotCount", "room TestReadersEntryDoesNotCount", "room TestForgedControlRecords"}},
	{"contexts and clocks from the future", []string{"room TestForgedEntriesDoNotCount", "tree TestContextBeyondClosure", "tree TestLiars"}},
	{"a wrong key or plain for a known cid", []string{"store TestPartialRefuses", "vfs TestSaveOverALie"}},
	{"a join that tries to displace members", []string{"room TestJoinWithoutInvite", "room TestInviteLimits", "room TestMadeUpCores", "room TestShortHistories"}},
	{"wild clocks, names, paths and sizes", []string{"room TestForgedEntriesDoNotCount", "tree TestBadOps", "tree TestBottomlessDirectories", "blob TestContentRules"}},
	{"allocation bombs", []string{"wire TestMalformedControl", "wire TestMemoryStaysBounded", "core TestFrameUp", "wire FuzzMessage", "tree FuzzDecodeOps", "room FuzzHeader"}},
	{"a hundred idle connections", []string{"wire TestHundredIdleConnections", "wire TestIdleConnectionsEnd", "wire TestManyStrangers"}},
	{"a peer that promises and never delivers", []string{"wire TestPromises", "wire TestDrippingTails", "wire TestDrippingSmall", "wire TestDrippingPayload", "wire TestDrippingEnds", "wire TestOvertaken", "wire TestSilentPeer", "wire TestReadsNothing"}},
}

// TestHostileTable sees to it that the table speaks of tests that exist.
func TestHostileTable(t *testing.T) {
	sources := map[string]string{}
	for _, h := range hostile {
		for _, name := range h.tests {
			pkg, fn, _ := strings.Cut(name, " ")
			if _, ok := sources[pkg]; !ok {
				files, err := filepath.Glob(filepath.Join("..", pkg, "*_test.go"))
				if err != nil {
					t.Fatal(err)
				}
				var all strings.Builder
				for _, f := range files {
					b, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					all.Write(b)
				}
				sources[pkg] = all.String()
			}
			if !strings.Contains(sources[pkg], "\nfunc "+fn+"(") {
				t.Errorf("%s: there is no test %s", h.what, name)
			}
		}
	}
}

// TestMemoryStaysBounded: members who each announce the longest frame that is allowed, on every stream, and never finish it cost what they
// have sent and a little.
func TestMemoryStaysBounded(t *testing.T) {
	const peers, most = 48, 48 << 20
	n := newNode(t, 1, Options{})
	before := heap()
	for i := range peers {
		dev, err := key.DeviceFromSeed(key.Secret{byte(i), 79})
		if err != nil {
			t.Fatal(err)
		}
		n.room.set(dev.ID(), room.AccessMember)
		r := newRogue(t, n.hub, dev).join()
		header := make([]byte, frameHeader)
		putHeader(header, frameHeads, MaxControlFrame)
		stop := func(s net.Conn, b []byte) { // the last byte is read once there is memory for the rest
			for _, part := range [][]byte{b[:len(b)-1], b[len(b)-1:]} {
				if _, err := s.Write(part); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop(r.control, append(header, 0x82, 0x01))
		for lane := range byte(maxLanes) {
			s := r.stream(lane)
			ask := make([]byte, frameHeader)
			putHeader(ask, frameAskBlocks, MaxControlFrame)
			stop(s, append(ask, 0x86, 0x01))
		}
	}
	if grown := heap() - before; grown > most {
		t.Errorf("%d MiB for %d peers, at most %d are allowed", grown>>20, peers, most>>20)
	}
	stillWorks(t, n)
}

// heap is how many bytes are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
