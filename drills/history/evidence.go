package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const recordFile = "record.json"

// evidence hashes the files of a run directory that are the record: record.json
// itself, the timeline, the files that it was made from, and what else stands
// beside them as JSON or YAML. Reports are not among them, since they can be made
// again, nor is the ledger, whose findings are in the timeline.
func evidence(dir string) (map[string]string, error) {
	items, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("hash the record: %w", err)
	}
	out := map[string]string{}
	for _, item := range items {
		name := item.Name()
		if !item.Type().IsRegular() || !isEvidence(name) {
			continue
		}
		if out[name], err = hashFile(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("hash the record: %w", err)
		}
	}
	if out[recordFile] == "" {
		return nil, fmt.Errorf("hash the record: %s holds no %s", dir, recordFile)
	}
	return out, nil
}

func isEvidence(name string) bool {
	ext := filepath.Ext(name)
	return slices.Contains([]string{".json", ".jsonl", ".yaml"}, ext) &&
		!strings.HasPrefix(name, "report") && !strings.HasPrefix(name, ".")
}

func hashFile(path string) (sha string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
