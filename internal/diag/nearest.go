package diag

import "strings"

// Nearest is the one of known that a person most likely meant by word, or "" if
// none is near: at most a third of the word's length may differ (two letters
// changing places count once), at least one letter and at most four; or it is
// the beginning of one alone. Upper and lower case, and "-" for "_", do not
// differ.
func Nearest(word string, known []string) string {
	const longest = 64 // a longer word is no slip of the keyboard, and costs time
	if word == "" || len(word) > longest {
		return ""
	}
	best, at := "", min(max(1, (len(word)+1)/3), 4)+1
	for _, k := range known {
		if d := distance(fold(word), fold(k)); d < at {
			best, at = k, d
		}
	}
	if best == "" && len(word) >= 3 {
		best = shortened(fold(word), known)
	}
	return best
}

// shortened is the only one of known that begins with word, or with which word
// begins: "prod" for "production".
func shortened(word string, known []string) string {
	best := ""
	for _, k := range known {
		if f := fold(k); len(f) < 3 || !strings.HasPrefix(f, word) && !strings.HasPrefix(word, f) {
			continue
		}
		if best != "" {
			return ""
		}
		best = k
	}
	return best
}

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "_")) }

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour (optimal string alignment) to get from a to b.
func distance(a, b string) int {
	if abs(len(a)-len(b)) > 4 {
		return 5
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func abs(n int) int { return max(n, -n) }
