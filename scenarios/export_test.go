package scenarios

// Lines is how a file is divided into lines, for the tests.
func Lines(data []byte) []string { return splitLines(withoutBOM(data)) }

// These are for the schema.
const (
	MatcherPattern = matcherPattern
	UnitPattern    = unitPattern
	SSHHostPattern = sshHostPattern
	SSHDirPattern  = sshDirPattern
)
