package vdso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/arch/x86/x86asm"
)

// endbr64 is a landing pad for indirect calls, which the decoder does not know.
var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// callThrough makes code for the place to that does what the function at the place
// at does: the instructions that a jump at its beginning destroys, and a jump to the
// one behind them. Both places are in the same pages, so that it is right wherever
// those are mapped.
func callThrough(image []byte, at, size, to int) (code []byte, err error) {
	n := 0 // bytes of the function that were moved
	for n < jumpLen {
		rest := image[at+n:]
		if bytes.HasPrefix(rest, endbr64) {
			code, n = append(code, endbr64...), n+len(endbr64)
			continue
		}
		in, err := x86asm.Decode(rest, 64)
		if err != nil {
			return nil, fmt.Errorf("reading its first instructions: %w", err)
		}
		moved, err := move(in, rest[:in.Len], at+n-(to+len(code)))
		if err != nil {
			return nil, err
		}
		code, n = append(code, moved...), n+in.Len
	}
	if err := leadsInto(image, at, size, n); err != nil {
		return nil, err
	}
	code = append(code, 0xe9)
	return binary.LittleEndian.AppendUint32(code, uint32(int32(at+n-(to+len(code)+4)))), nil
}

// move makes the instruction mean the same by bytes further back.
func move(in x86asm.Inst, code []byte, by int) ([]byte, error) {
	if leaves(in) {
		return nil, fmt.Errorf("it begins with %v", in)
	}
	code = bytes.Clone(code)
	for _, a := range in.Args {
		m, ok := a.(x86asm.Mem)
		if !ok || m.Base != x86asm.RIP {
			continue
		}
		if in.PCRel != 4 {
			return nil, fmt.Errorf("it begins with %v, which cannot be moved", in)
		}
		d := int64(int32(binary.LittleEndian.Uint32(code[in.PCRelOff:]))) + int64(by)
		if d < math.MinInt32 || d > math.MaxInt32 {
			return nil, fmt.Errorf("it begins with %v, which does not reach so far", in)
		}
		binary.LittleEndian.PutUint32(code[in.PCRelOff:], uint32(int32(d)))
	}
	return code, nil
}

// leaves says whether the instruction may go elsewhere than to the next one.
func leaves(in x86asm.Inst) bool {
	switch in.Op {
	case x86asm.JMP, x86asm.CALL, x86asm.RET, x86asm.SYSCALL, x86asm.SYSENTER, x86asm.INT:
		return true
	}
	for _, a := range in.Args {
		if _, ok := a.(x86asm.Rel); ok {
			return true
		}
	}
	return false
}

// leadsInto finds a branch of the function into its first n bytes, which are no code
// any more once a jump is there. Its very beginning is still its beginning.
func leadsInto(image []byte, at, size, n int) error {
	if size <= 0 || at+size > len(image) {
		return errors.New("its size is not known")
	}
	for i := 0; i < size; {
		if bytes.HasPrefix(image[at+i:], endbr64) {
			i += len(endbr64)
			continue
		}
		in, err := x86asm.Decode(image[at+i:], 64)
		if err != nil {
			return fmt.Errorf("reading its instruction at %#x: %w", i, err)
		}
		i += in.Len
		for _, a := range in.Args {
			if r, ok := a.(x86asm.Rel); ok && i+int(r) > 0 && i+int(r) < n {
				return fmt.Errorf("it branches into its own beginning: %v", in)
			}
		}
	}
	return nil
}
