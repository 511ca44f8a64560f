package main

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// screen is a terminal on which a line is typed while other things are printed: these stand above it, and it is drawn again below them.
// What is printed ends in a line break.
type screen struct {
	t     *term.Terminal
	size  func() (width, height int, err error)
	close func() // gives the terminal back as it was

	mu            sync.Mutex // guards what follows
	width, height int
}

// openScreen takes a terminal over.
func openScreen(in, out *os.File) (*screen, error) {
	fd := int(in.Fd())
	was, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	s := newScreen(struct {
		io.Reader
		io.Writer
	}{in, out}, func() (int, int, error) { return term.GetSize(int(out.Fd())) })
	s.t.SetBracketedPasteMode(true)
	s.close = func() {
		s.t.SetBracketedPasteMode(false)
		s.t.SetPrompt("")
		term.Restore(fd, was)
		io.WriteString(out, "\n")
	}
	return s, nil
}

func newScreen(rw io.ReadWriter, size func() (width, height int, err error)) *screen {
	return &screen{t: term.NewTerminal(rw, "> "), size: size, close: func() {}}
}

// fit follows changes of the terminal's size.
func (s *screen) fit() {
	w, h, err := s.size()
	if err != nil || w <= 0 || h <= 0 {
		return // it stays as it was taken to be
	}
	s.mu.Lock()
	same := w == s.width && h == s.height
	s.width, s.height = w, h
	s.mu.Unlock()
	if !same {
		s.t.SetSize(w, h)
	}
}

// Write prints above the line that is being typed.
func (s *screen) Write(b []byte) (int, error) {
	s.fit()
	return s.t.Write(b)
}

// ReadLine reads a line as it is typed or pasted; io.EOF on Ctrl-D, Ctrl-C and at the end of the input.
func (s *screen) ReadLine() (string, error) {
	s.fit()
	line, err := s.t.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	return line, err
}
