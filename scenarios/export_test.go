package scenarios

// Lines is how a file is divided into lines, for the tests.
func Lines(data []byte) []string { return splitLines(withoutBOM(data)) }

// UnitPattern is for the schema.
const UnitPattern = unitPattern
