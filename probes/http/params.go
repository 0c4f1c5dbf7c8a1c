package http

import "time"

// Params is the section "http" of a system file: the requests by which the
// service is written and read. A text in which templates are allowed is one of
// text/template; check says which names may stand in it.
type Params struct {
	URL    string   `yaml:"url,omitempty" jsonschema:"description=Where each node itself answers, {node} being its address; for nodes that have no url of their own."`
	Write  *Write   `yaml:"write" jsonschema:"description=One write of a client. Templates see .Run .Client .Seq .ID (unique) .Node."`
	IDs    *IDs     `yaml:"ids,omitempty" jsonschema:"description=The ids of all writes that are there; without it no loss can be told. Templates see .Run .Client .Node."`
	Role   *Role    `yaml:"role,omitempty" jsonschema:"description=What a node claims to be; without it no dual claim, no promotion. Templates see .Node."`
	Epoch  *Answer  `yaml:"epoch,omitempty" jsonschema:"description=The lineage that a node is on: a term, a generation. Templates see .Node."`
	Detect *Detect  `yaml:"detect,omitempty" jsonschema:"description=How the service shows that it knows of a failure. Templates see .Node."`
	Health *Health  `yaml:"health,omitempty" jsonschema:"description=The check that the load balancer uses. Templates see .Node."`
	Clean  *Request `yaml:"clean,omitempty" jsonschema:"description=Removes what a run has written; without it that stays in the service. Templates see .Run .Client."`
}

// A Request is what is sent.
type Request struct {
	Method  string            `yaml:"method,omitempty" jsonschema:"description=Default POST for write, DELETE for clean, else GET."`
	Path    string            `yaml:"path" jsonschema:"description=Template: what follows the URL, with its query."`
	Body    string            `yaml:"body,omitempty" jsonschema:"description=Template."`
	Headers map[string]string `yaml:"headers,omitempty" jsonschema:"description=Templates by name; no secret: see clients.password."`
	Timeout time.Duration     `yaml:"timeout,omitempty" jsonschema:"description=How long the whole answer is waited for."`
}

// A Write is the request of a write, and what its answers mean.
type Write struct {
	Request `yaml:",inline"`
	Acked   []int `yaml:"acked,omitempty" jsonschema:"default=200 201 204,description=The statuses that promise that the write is kept."`
	Refused []int `yaml:"refused,omitempty" jsonschema:"description=The statuses that promise that nothing was done and nothing will be; any other leaves the write unknown."`
	Taker   *Told `yaml:"taker,omitempty" jsonschema:"description=Where the answer names the node that took the write."`
	Epoch   *Told `yaml:"epoch,omitempty" jsonschema:"description=Where the answer names the lineage that took the write."`
}

// A Told is a place in an answer: one of the two.
type Told struct {
	Header string `yaml:"header,omitempty" jsonschema:"description=The name of a header."`
	JSON   string `yaml:"json,omitempty" jsonschema:"description=A path in the body such as $.term."`
}

// IDs is the request for what is there, and how to read it: one of the two.
type IDs struct {
	Request `yaml:",inline"`
	Lines   bool   `yaml:"lines,omitempty" jsonschema:"description=The answer has one id a line."`
	JSON    string `yaml:"json,omitempty" jsonschema:"description=The answer is JSON with the ids at a path such as $.items[*].id."`
}

// An Answer is a request whose answer is one text: the body, or a value in it.
type Answer struct {
	Request `yaml:",inline"`
	JSON    string `yaml:"json,omitempty" jsonschema:"description=A path in the body such as $.role; default: the whole body."`
}

// A Role is the request for what a node claims to be.
type Role struct {
	Answer  `yaml:",inline"`
	Primary string `yaml:"primary" jsonschema:"description=The answer of a primary, without the space around it."`
	Replica string `yaml:"replica,omitempty" jsonschema:"description=That of a replica; default: any other answer with a status from 200 to 299."`
}

// A Detect is the request by which the service shows that it knows.
type Detect struct {
	Request `yaml:",inline"`
	Matches string `yaml:"matches" jsonschema:"description=A regular expression (RE2) that the answer then matches."`
}

// A Health is the check of a load balancer.
type Health struct {
	Request `yaml:",inline"`
	OK      []int `yaml:"ok,omitempty" jsonschema:"default=200,description=The statuses that say healthy."`
}
