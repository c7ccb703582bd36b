//! Servers at which identities publish: a name server, a web server, and one that answers as a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use crate::home::skip;
use crate::node::eventually;

/// A program that runs until its test ends.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program; none where it is not installed.
fn daemon(program: &str, args: &[&str]) -> Option<Daemon> {
    let path = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
        .map(|folder| format!("{folder}/{program}"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(path) = path else {
        skip(&format!("{program} is not installed"));
        return None;
    };
    let child = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    Some(Daemon(child))
}

/// A port that is free for both kinds of packets.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("bound").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A name server (knot) for the zone `example`.
pub struct NameServer {
    dir: tempfile::TempDir,
    daemon: Daemon,
    port: u16,
    serial: u32,
}

impl NameServer {
    /// A zone with these records; none where the server is not installed.
    pub fn start(records: &[&str]) -> Option<NameServer> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let root = dir.path().display();
        let config = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {root}\n  user: root\n\
             database:\n  storage: {root}/db\n\
             template:\n  - id: default\n    storage: {root}\n    journal-content: none\n    zonefile-load: whole\n\
             zone:\n  - domain: example\n    file: example.zone\n"
        );
        // It may change its user only when it is root's.
        let config = match rustix::process::getuid().is_root() {
            true => config,
            false => config.replace("  user: root\n", ""),
        };
        std::fs::write(dir.path().join("knot.conf"), config).expect("room");
        write_zone(dir.path(), 1, records);
        let path = dir.path().join("knot.conf").display().to_string();
        let daemon = daemon("knotd", &["-c", &path])?;
        let server = NameServer {
            dir,
            daemon,
            port,
            serial: 1,
        };
        server.comes_to_serve();
        Some(server)
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Serves these records in place of those before.
    pub fn change(&mut self, records: &[&str]) {
        self.serial += 1;
        write_zone(self.dir.path(), self.serial, records);
        let pid = i32::try_from(self.daemon.0.id()).expect("process ids are small");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("our own server");
        self.comes_to_serve();
    }

    /// Waits until the zone of the newest serial number is served.
    fn comes_to_serve(&self) {
        eventually("the zone is served", || self.served() == Some(self.serial));
    }

    /// The serial number in the answer to a question for the zone's start of authority.
    fn served(&self) -> Option<u32> {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
        let question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00\x00\x06\x00\x01";
        socket.send_to(question, ("127.0.0.1", self.port)).ok()?;
        let mut answer = [0; 512];
        let len = socket.recv(&mut answer).ok()?;
        // The serial number is the first of the five numbers at the end of the record, which is the last one.
        let numbers = answer.get(..len)?.len().checked_sub(20)?;
        let is_answer = answer[7] == 1;
        is_answer.then(|| u32::from_be_bytes(answer[numbers..numbers + 4].try_into().expect("four")))
    }
}

fn write_zone(dir: &Path, serial: u32, records: &[&str]) {
    let mut zone = format!(
        "$ORIGIN example.\n$TTL 0\n@ SOA ns.example. mail.example. {serial} 3600 600 86400 0\n@ NS ns.example.\nns A 127.0.0.1\n"
    );
    for record in records {
        zone.push_str(record);
        zone.push('\n');
    }
    std::fs::write(dir.join("example.zone"), zone).expect("room");
}

/// A web server (nginx) with a certificate of its own, for the pages of all domains.
pub struct WebServer {
    dir: tempfile::TempDir,
    _daemon: Daemon,
    port: u16,
}

impl WebServer {
    /// None where the server is not installed.
    pub fn start() -> Option<WebServer> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let root = dir.path();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        std::fs::write(root.join("cert.pem"), certificate).expect("room");
        std::fs::write(root.join("key.pem"), key.serialize_pem()).expect("room");
        std::fs::create_dir(root.join("www")).expect("room");
        let shown = root.display();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {shown}/{name};"))
            .join(" ");
        let user = match rustix::process::getuid().is_root() {
            true => "user root;",
            false => "",
        };
        let config = format!(
            "daemon off; {user} pid {shown}/pid; error_log {shown}/error.log; events {{}}\n\
             http {{ access_log off; {paths}\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {shown}/cert.pem; ssl_certificate_key {shown}/key.pem; ssl_protocols TLSv1.3;\n\
             root {shown}/www; location /away.example/ {{ return 302 file:///etc/passwd; }} }} }}\n"
        );
        std::fs::write(root.join("nginx.conf"), config).expect("room");
        let conf = root.join("nginx.conf").display().to_string();
        let daemon = daemon("nginx", &["-c", &conf, "-p", &shown.to_string()])?;
        eventually("the web server listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(WebServer {
            _daemon: daemon,
            port,
            dir,
        })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that vouches for it.
    pub fn authority(&self) -> String {
        self.dir.path().join("cert.pem").display().to_string()
    }

    /// Publishes a page of a domain.
    pub fn publish(&self, domain: &str, page: &str) {
        let folder = self.dir.path().join("www").join(domain).join(".well-known");
        std::fs::create_dir_all(&folder).expect("room");
        std::fs::write(folder.join("polykey.txt"), page).expect("room");
    }

    /// Takes it down.
    pub fn take_down(&self, domain: &str) {
        let page = format!("www/{domain}/.well-known/polykey.txt");
        std::fs::remove_file(self.dir.path().join(page)).expect("published before");
    }
}

/// What a request looks like to a script: the method and path, and the body.
pub struct Asked {
    pub line: String,
    pub head: String,
    pub body: String,
}

type Script = dyn FnMut(&Asked, &mut TcpStream) + Send;

/// A server on the loopback interface that answers as a test says.
pub struct Scripted {
    port: u16,
    script: Arc<Mutex<Box<Script>>>,
}

impl Scripted {
    pub fn start(script: impl FnMut(&Asked, &mut TcpStream) + Send + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let shared = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if let Some(asked) = read_request(&mut stream) {
                    (shared.lock().expect("no panic"))(&asked, &mut stream);
                }
            }
        });
        Scripted { port, script }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers otherwise from now on.
    pub fn change(&self, script: impl FnMut(&Asked, &mut TcpStream) + Send + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let len: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    while bytes.len() < end + len {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
        }
    }
    Some(Asked {
        line: head.split(" HTTP/").next()?.to_owned(),
        body: String::from_utf8_lossy(&bytes[end..]).into_owned(),
        head,
    })
}

/// Answers with this status, these header fields and this body.
pub fn answer(stream: &mut TcpStream, status: u16, fields: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n{fields}\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
}
