package core_test

import (
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
)

func TestMemStore(t *testing.T) {
	coretest.Test(t, func(t *testing.T) core.Writer { return &coretest.MemStore{} })
}
