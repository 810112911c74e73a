//! Callbacks over `https`: to whom the system's certificates vouch for, and to nobody else.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_relay::domain::task::callback::CallbackStatus;

use super::{create, once};
use crate::program::{Running, Serving, program};
use crate::server::{Client, eventually};

/// Makes an authority, and a certificate of it for this machine.
const CERTIFICATES: &str = r"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout NAME.key -out NAME.pem -days 2 \
    -subj '/CN=NAME' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key -out leaf.csr -subj '/CN=receiver'
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > leaf.ext
openssl x509 -req -in leaf.csr -CA NAME.pem -CAkey NAME.key -CAcreateserial -out leaf.pem -days 2 -extfile leaf.ext
";

/// Answers every request, and prints what came.
const RECEIVER: &str = r#"
import http.server, ssl
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("leaf.pem", "leaf.key")
server = http.server.HTTPServer(("127.0.0.1", PORT), Receiver)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

fn make_certificates(folder: &Path, name: &str) {
    let script = CERTIFICATES.replace("NAME", name);
    let made = Command::new("sh").args(["-euc", &script]).current_dir(folder).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn whom_the_systems_certificates_vouch_for_is_told_and_nobody_else() {
    for (tool, version) in [("openssl", "version"), ("python3", "--version")] {
        let found = Command::new(tool).arg(version).stdout(Stdio::null()).status();
        if found.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            eprintln!("SKIPPED: no receiver has a certificate, because {tool} is not installed");
            return;
        }
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The certificate that stays is of the second one.
    make_certificates(folder.path(), "stranger");
    make_certificates(folder.path(), "known");
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("a free port");
    let script = RECEIVER.replace("PORT", &address.port().to_string());
    let mut python = Command::new("python3");
    let receiver = Running::start(
        python.args(["-c", &script]).current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::null()),
    );
    eventually("it listens", async || std::net::TcpStream::connect(address).ok()).await;
    for (authority, is_told) in [("stranger", false), ("known", true)] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let settings = home.path().join("relay.toml");
        std::fs::write(&settings, "[callbacks]\nallow = [\"127.0.0.1/32\"]\n").expect("settings");
        let mut command = program(home.path());
        command.env("AGENT_RELAY_CONFIG", settings);
        command.env("SSL_CERT_FILE", folder.path().join(format!("{authority}.pem")));
        let serving = Serving::start(&mut command);
        let client = Client::new(&serving.url, None);
        let task = create(&client, &format!("https://{address}/")).await;
        let tried = once(&client, &task, "an attempt", |callback| !callback.attempts.is_empty()).await;
        assert_eq!(tried.status == CallbackStatus::Delivered, is_told, "{tried:?}");
        let error = tried.attempts[0].error.as_deref().unwrap_or_default();
        assert_eq!(error.contains("certificate"), !is_told, "{error}");
    }
    receiver.said("Tell me");
}
