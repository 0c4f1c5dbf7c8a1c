package scenarios

// A System describes what is drilled.
type System struct {
	// What the system is called in reports and in the history.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// The kind of system: how its nodes, roles and clients are spoken to.
	Kind string `yaml:"kind" jsonschema:"minLength=1"`
	// How careful the guardrails are; production asks for more.
	Environment Environment `yaml:"environment,omitempty"`
	// Where the nodes are: exactly one way.
	Nodes Nodes `yaml:"nodes"`
	// How an application connects and reconnects.
	Clients Clients `yaml:"clients,omitempty"`
	// For kind http: the requests by which the service is written and read.
	HTTP Params `yaml:"http,omitempty"`
	// The check that the load balancer uses.
	Health Health `yaml:"health,omitempty"`
	// Where the alerts of its monitoring are taken, for the objective alert.
	Monitoring Monitoring `yaml:"monitoring,omitempty"`
	// What the owners promised.
	Objectives Objectives `yaml:"objectives,omitempty"`
	// Why no drill begins, and why one that runs is ended.
	Guardrails Guardrails `yaml:"guardrails,omitempty"`
	// How the owners built it, in the words of their documents.
	Design Design `yaml:"design,omitempty"`
	// What the kind needs besides: see its documentation.
	Settings Params `yaml:"settings,omitempty"`

	src *source // where it was read; nil if it was made in Go
}

// Environment decides how careful the guardrails are.
type Environment string

// The environments.
const (
	CI         Environment = "ci"
	Staging    Environment = "staging"
	Production Environment = "production"
)

// Nodes says where the nodes are: exactly one way.
type Nodes struct {
	// Containers of the Docker engine.
	Docker *DockerNodes `yaml:"docker,omitempty"`
	// Services of this machine, or addresses that only probes reach.
	Hosts []HostNode `yaml:"hosts,omitempty" jsonschema:"minItems=1"`
	// Machines reached by ssh.
	SSH []SSHNode `yaml:"ssh,omitempty" jsonschema:"minItems=1"`
}

// DockerNodes selects containers; filters narrow: a container must match all of
// them.
type DockerNodes struct {
	// A label, or a list of them: "app=orders".
	Label Strings `yaml:"label,omitempty"`
	// The name of a compose project.
	Compose string `yaml:"compose,omitempty"`
	// The containers' names.
	Names Strings `yaml:"names,omitempty"`
}

// HostNode is a service of this machine, or, without unit and pidfile, an address
// that only probes can reach.
type HostNode struct {
	// Unique in the system, and no role.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// Where the node itself answers, past any load balancer.
	URL string `yaml:"url,omitempty"`
	// The same as "host:port", for what is no URL.
	Addr string `yaml:"addr,omitempty"`
	// The service unit of this machine's systemd that the node is.
	Unit string `yaml:"unit,omitempty"`
	// The file in which the node's main process is named.
	PIDFile string `yaml:"pidfile,omitempty"`
	// The program that starts the process of the pidfile, with its arguments; only
	// with --allow-commands.
	Start []string `yaml:"start,omitempty" jsonschema:"minItems=1"`
}

// SSHNode is a service of a machine that is reached by ssh, or, without unit and
// pidfile, an address that only probes can reach.
type SSHNode struct {
	// Unique in the system, and no role.
	Name string `yaml:"name" jsonschema:"minLength=1"`
	// The machine, as ssh knows it: a Host of its configuration, user@name, or ssh://user@name:port.
	Host string `yaml:"host" jsonschema:"minLength=1"`
	// Where dapple's program is put there. Default: dapple/agent in that user's cache.
	Dir string `yaml:"dir,omitempty"`
	// Where the node itself answers, past any load balancer.
	URL string `yaml:"url,omitempty"`
	// The same as "host:port", for what is no URL. Default: the machine, as ssh finds it.
	Addr string `yaml:"addr,omitempty"`
	// The service unit of that machine's systemd that the node is.
	Unit string `yaml:"unit,omitempty"`
	// The file there in which the node's main process is named.
	PIDFile string `yaml:"pidfile,omitempty"`
	// The program there that starts the process of the pidfile, with its arguments;
	// only with --allow-commands.
	Start []string `yaml:"start,omitempty" jsonschema:"minItems=1"`
}

// Service is the node as its own machine knows it.
func (n SSHNode) Service() HostNode {
	return HostNode{Name: n.Name, URL: n.URL, Addr: n.Addr, Unit: n.Unit, PIDFile: n.PIDFile, Start: n.Start}
}

// Clients is how an application of theirs connects and reconnects.
type Clients struct {
	// The connection string of the application; no password in it.
	DSN string `yaml:"dsn,omitempty"`
	// The endpoint of the application, where it is a URL; no password in it.
	URL string `yaml:"url,omitempty"`
	// Where the password is: never in the file itself.
	Password Secret `yaml:"password,omitempty"`
	// How long the application waits for a connection. Default 1s.
	Connect Duration `yaml:"connect,omitempty"`
	// How long the application waits for a reply. Default 2s.
	Statement Duration `yaml:"statement,omitempty"`
	// How long the application waits before it connects again.
	Backoff Backoff `yaml:"backoff,omitempty"`
}

// Backoff doubles From up to To, with jitter.
type Backoff struct {
	// The first wait. Default 50ms.
	From Duration `yaml:"from,omitempty"`
	// The longest wait. Default 500ms.
	To Duration `yaml:"to,omitempty"`
}

// Secret says where a secret is: never in the file itself.
type Secret struct {
	// The name of an environment variable.
	Env string `yaml:"env,omitempty"`
	// The name of a file; line breaks at its end are not part of the secret.
	File string `yaml:"file,omitempty"`
}

// Health is the check that the load balancer uses; {node} is the node's address.
type Health struct {
	// A URL: "http://{node}:8008/primary".
	HTTP string `yaml:"http,omitempty"`
	// An address: "{node}:5432".
	TCP string `yaml:"tcp,omitempty"`
}

// Monitoring is the monitoring that the owners have of the system.
type Monitoring struct {
	// Where dapple takes what their Alertmanager sends to a webhook, during a drill:
	// "127.0.0.1:9095".
	Listen string `yaml:"listen" jsonschema:"minLength=1"`
	// Labels that an alert must have to be one of the system's: {service: orders}.
	Match map[string]string `yaml:"match,omitempty"`
}

// Design is how the owners built it, in the words of their documents.
type Design struct {
	// Such as active-passive.
	Pattern string `yaml:"pattern,omitempty"`
	// Such as lease.
	Detection string `yaml:"detection,omitempty"`
	// Such as replicated-sync.
	State string `yaml:"state,omitempty"`
	// Such as automatic.
	Recovery string `yaml:"recovery,omitempty"`
}
