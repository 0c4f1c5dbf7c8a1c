package vmtest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A linux is an unpacked kernel package: boot/vmlinuz-VERSION, and the folder
// lib/modules/VERSION.
type linux struct {
	image   string
	modules string
}

// findKernel finds what .ci/vm-kernel has unpacked.
func findKernel() (linux, error) {
	state := os.Getenv("DAPPLE_CI_STATE")
	if state == "" {
		state = "/var/lib/dapple-ci"
	}
	root := filepath.Join(state, "vm-kernel")
	const how = "run .ci/vm-kernel, on Debian"
	images, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil {
		return linux{}, err
	}
	if len(images) != 1 {
		return linux{}, fmt.Errorf("%d kernels in %s, want one: %s", len(images), root, how)
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := linux{image: images[0], modules: filepath.Join(root, "lib/modules", version)}
	if _, err := os.Stat(k.modules); err != nil {
		return linux{}, fmt.Errorf("the modules of %s: %w: %s", version, err, how)
	}
	return k, nil
}

// order lists the files of the modules so that each comes after those that it
// depends on. What is built into the kernel is left out.
func (k linux) order(names []string) ([]string, error) {
	files, err := k.files()
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		files[moduleName(strings.TrimSpace(line))] = ""
	}
	l := loader{files: files, seen: map[string]bool{}}
	for _, n := range names {
		if err := l.need(n); err != nil {
			return nil, err
		}
	}
	return l.order, nil
}

// files are all modules by name.
func (k linux) files() (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.modules, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".ko") {
			files[moduleName(p)] = p
		}
		return err
	})
	return files, err
}

// moduleName is a module's, as the kernel knows it: files may have dashes.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

type loader struct {
	files map[string]string
	seen  map[string]bool
	order []string
}

func (l *loader) need(name string) error {
	name = moduleName(name)
	path, known := l.files[name]
	switch {
	case !known:
		return fmt.Errorf("the kernel has no module %s", name)
	case path == "" || l.seen[name]:
		return nil
	}
	l.seen[name] = true
	on, err := dependsOn(path)
	if err != nil {
		return err
	}
	for _, n := range on {
		if err := l.need(n); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	l.order = append(l.order, path)
	return nil
}

// dependsOn reads what a module says of itself (modinfo(8), field depends): a
// package that was only unpacked has no modules.dep.
func dependsOn(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the module %s: %w", path, err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("the module %s says nothing of itself", path)
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("the module %s: %w", path, err)
	}
	for field := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok {
			return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
