//! Asks name servers.

use super::files::Settings;
use super::message::{Answer, Family, Name, Question, decode};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Bytes of a datagram that are read: more than servers send unasked.
const MAX_DATAGRAM_BYTES: usize = 4096;

/// Names that are asked for where each is an alias of the next.
const MAX_ALIASES: usize = 8;

/// How long addresses of IPv6 are waited for once there are some of IPv4: not every server answers both questions.
const IPV6_PATIENCE: Duration = Duration::from_secs(1);

/// The addresses of a name, those of IPv4 first; at least one.
pub(super) async fn look_up(host: &str, settings: &Settings) -> io::Result<Vec<IpAddr>> {
    let names = settings.candidates(host);
    let mut failed: Option<Failure> = None;
    for text in &names {
        // Servers that say nothing are asked for the name itself at most: every domain would take as long again.
        let silent = failed.as_ref().is_some_and(|f| f.silent) && text != host;
        let Some(name) = Name::new(text).filter(|_| !silent) else { continue };
        match both_families(name, settings).await {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => {}
            Err(failure) => failed = Some(failure),
        }
    }
    Err(io::Error::other(match failed {
        Some(failure) => format!("no name server answered: {}", failure.reasons.join("; ")),
        None => format!("the name is not known; tried {}", names.join(", ")),
    }))
}

/// Why no server answered a question.
#[derive(Debug)]
struct Failure {
    /// What became of each server.
    reasons: Vec<String>,
    /// Whether none of them said a word.
    silent: bool,
}

async fn both_families(name: Name, settings: &Settings) -> Result<Vec<IpAddr>, Failure> {
    let mut v4 = pin!(follow(name.clone(), Family::V4, settings));
    let mut v6 = pin!(follow(name, Family::V6, settings));
    let (v4, v6) = tokio::select! {
        v6 = &mut v6 => (v4.await, v6),
        v4 = &mut v4 => match v4 {
            Ok(found) if !found.is_empty() => (Ok(found), timeout(IPV6_PATIENCE, v6).await.unwrap_or(Ok(Vec::new()))),
            v4 => (v4, v6.await),
        },
    };
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
        (Ok(found), Err(failure)) | (Err(failure), Ok(found)) => {
            if found.is_empty() {
                Err(failure)
            } else {
                Ok(found)
            }
        }
        (Err(failure), Err(_)) => Err(failure),
    }
}

/// The addresses of one family; none where it is known that there are none.
async fn follow(mut name: Name, family: Family, settings: &Settings) -> Result<Vec<IpAddr>, Failure> {
    for _ in 0..MAX_ALIASES {
        match ask_all(&name, family, settings).await? {
            Answer::Addresses(found) => return Ok(found),
            Answer::Alias(target) => name = target,
            _ => return Ok(Vec::new()),
        }
    }
    Err(Failure { reasons: vec![format!("the name has more than {MAX_ALIASES} aliases")], silent: false })
}

/// What the first server says that knows an answer.
async fn ask_all(name: &Name, family: Family, settings: &Settings) -> Result<Answer, Failure> {
    let mut failure = Failure { reasons: Vec::new(), silent: true };
    for _ in 0..settings.attempts {
        failure.reasons.clear();
        for server in &settings.servers {
            let reason = match timeout(settings.timeout, ask(*server, name, family)).await {
                Ok(Ok(Answer::Failed(reason))) => {
                    failure.silent = false;
                    reason
                }
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(e)) => e.to_string(),
                Err(_) => format!("no answer within {:?}", settings.timeout),
            };
            failure.reasons.push(format!("{server}: {reason}"));
        }
    }
    Err(failure)
}

/// Asks one server, once more over TCP where a datagram is too small for the answer.
async fn ask(server: SocketAddr, name: &Name, family: Family) -> io::Result<Answer> {
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).map_err(|_| io::Error::other("the system has no random numbers"))?;
    let question = Question { id: u16::from_be_bytes(id), name: name.clone(), family };
    match by_datagram(server, &question).await? {
        Answer::Truncated => by_stream(server, &question).await,
        answer => Ok(answer),
    }
}

async fn by_datagram(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
    // Port 0: a random one, which a forger must guess beside the id. Connected: no other address is heard.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question.encode()).await?;
    let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let len = socket.recv(&mut datagram).await?;
        if let Some(answer) = decode(&datagram[..len], question) {
            return Ok(answer);
        }
    }
}

/// Over TCP a message's length comes before it: <https://www.rfc-editor.org/rfc/rfc1035#section-4.2.2>.
async fn by_stream(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let query = question.encode();
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], &query].concat()).await?;
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    match decode(&message, question) {
        Some(Answer::Truncated) => Ok(Answer::Failed("its answer is cut off".into())),
        Some(answer) => Ok(answer),
        None => Ok(Answer::Failed("it answered another question".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{Written, a, cname, name, reply};
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local};

    const TRUNCATED: u16 = 1 << 9;
    const SERVFAIL: u16 = 2;
    const NXDOMAIN: u16 = 3;

    /// A name server on a loopback port, over UDP and TCP.
    struct Server {
        address: SocketAddr,
        asked: Rc<RefCell<Vec<String>>>,
    }

    /// The messages that answer a query.
    type Script = fn(&Query<'_>) -> Vec<Vec<u8>>;

    struct Query<'a> {
        bytes: &'a [u8],
        name: String,
        v4: bool,
        streamed: bool,
    }

    impl Query<'_> {
        fn read(bytes: &[u8], streamed: bool) -> Query<'_> {
            let (mut labels, mut at) = (Vec::new(), 12);
            while bytes[at] != 0 {
                let end = at + 1 + usize::from(bytes[at]);
                labels.push(std::str::from_utf8(&bytes[at + 1..end]).unwrap());
                at = end;
            }
            Query { bytes, name: labels.join("."), v4: bytes[at + 2] == 1, streamed }
        }

        fn with(&self, flags: u16, answers: &[Written<'_>]) -> Vec<Vec<u8>> {
            vec![reply(self.bytes, flags, answers, &[])]
        }
    }

    impl Server {
        /// Both sockets have the same port.
        async fn start(script: Script) -> Server {
            let (socket, listener) = loop {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                    break (socket, listener);
                }
            };
            let server = Server { address: listener.local_addr().unwrap(), asked: Rc::default() };
            let asked = server.asked.clone();
            let note = move |query: &Query<'_>| {
                asked.borrow_mut().push(format!("{} {}", query.name, if query.v4 { "A" } else { "AAAA" }));
            };
            let noted = note.clone();
            spawn_local(async move {
                let mut datagram = [0; 512];
                loop {
                    let (len, client) = socket.recv_from(&mut datagram).await.unwrap();
                    let query = Query::read(&datagram[..len], false);
                    noted(&query);
                    for answer in script(&query) {
                        socket.send_to(&answer, client).await.unwrap();
                    }
                }
            });
            spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                    stream.read_exact(&mut query).await.unwrap();
                    let query = Query::read(&query, true);
                    note(&query);
                    for answer in script(&query) {
                        stream.write_u16(answer.len() as u16).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            });
            server
        }

        /// What was asked, sorted: the two families are asked at once.
        fn asked(&self) -> Vec<String> {
            let mut asked = self.asked.take();
            asked.sort();
            asked
        }
    }

    /// One attempt, and patience for a loaded machine.
    fn settings(servers: &[SocketAddr], search: &[&str]) -> Settings {
        let search = search.iter().map(ToString::to_string).collect();
        Settings { servers: servers.to_vec(), search, ndots: 1, timeout: Duration::from_secs(20), attempts: 1 }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    async fn found(host: &str, settings: &Settings) -> Result<Vec<String>, String> {
        let found = look_up(host, settings).await.map_err(|e| e.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    const V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    /// Knows `here.test` and `alias.test`, which is another name of it.
    fn zone(query: &Query<'_>) -> Vec<Vec<u8>> {
        match query.name.as_str() {
            "here.test" if query.v4 => query.with(0, &[a("here.test", [192, 0, 2, 1])]),
            "here.test" => query.with(0, &[("here.test", 28, V6.to_vec())]),
            "alias.test" => query.with(0, &[cname("alias.test", "here.test")]),
            "circle.test" => query.with(0, &[cname("circle.test", "circle2.test")]),
            "circle2.test" => query.with(0, &[cname("circle2.test", "circle.test")]),
            "empty.test" => query.with(0, &[]),
            _ => query.with(NXDOMAIN, &[]),
        }
    }

    #[test]
    fn both_families_those_of_ipv4_first() {
        run(async {
            let server = Server::start(zone).await;
            let settings = settings(&[server.address], &["test"]);
            let both = Ok(vec!["192.0.2.1".to_owned(), "2001:db8::1".into()]);
            assert_eq!(found("Here.test", &settings).await, both);
            assert_eq!(server.asked(), ["here.test A", "here.test AAAA"]);
            assert_eq!(found("alias.test.", &settings).await, both);
            assert_eq!(server.asked(), ["alias.test A", "alias.test AAAA", "here.test A", "here.test AAAA"]);
            assert_eq!(found("here", &settings).await, both);
            assert_eq!(server.asked(), ["here.test A", "here.test AAAA"]);
        });
    }

    #[test]
    fn what_is_not_known_was_looked_for_everywhere() {
        run(async {
            let server = Server::start(zone).await;
            let settings = settings(&[server.address], &["a.test", "test"]);
            let e = found("no", &settings).await.unwrap_err();
            assert_eq!(e, "the name is not known; tried no.a.test, no.test, no");
            let e = found("empty.test", &settings).await.unwrap_err();
            assert_eq!(e, "the name is not known; tried empty.test, empty.test.a.test, empty.test.test");
            let e = found("circle.test.", &settings).await.unwrap_err();
            assert_eq!(e, "no name server answered: the name has more than 8 aliases");
            server.asked();
            let long = "x".repeat(64);
            for bad in ["no..host", ".", long.as_str()] {
                assert!(found(bad, &settings).await.unwrap_err().starts_with("the name is not known"));
            }
            assert!(server.asked().is_empty());
        });
    }

    #[test]
    fn the_next_server_is_asked_where_one_fails() {
        run(async {
            let broken = Server::start(|query| query.with(SERVFAIL, &[])).await;
            let server = Server::start(zone).await;
            let mut settings = settings(&[broken.address, server.address], &[]);
            assert_eq!(found("here.test", &settings).await.unwrap().len(), 2);
            assert_eq!(broken.asked().len(), 2);
            settings.servers.truncate(1);
            settings.attempts = 3;
            let e = found("here.test", &settings).await.unwrap_err();
            assert_eq!(e, format!("no name server answered: {}: SERVFAIL", broken.address));
            assert_eq!(broken.asked().len(), 6);
        });
    }

    #[test]
    fn a_closed_port_and_a_silent_server_are_passed_by() {
        run(async {
            let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let silent = Server::start(|_| Vec::new()).await;
            let server = Server::start(zone).await;
            let mut settings = settings(&[closed, silent.address, server.address], &["test", "example"]);
            (settings.timeout, settings.attempts) = (Duration::from_millis(200), 5);
            assert_eq!(found("here.test", &settings).await.unwrap().len(), 2);
            settings.servers.truncate(2);
            settings.attempts = 1;
            silent.asked();
            let e = found("here", &settings).await.unwrap_err();
            assert!(e.contains("refused") && e.contains(&format!("{}: no answer within 200ms", silent.address)), "{e}");
            // Not below "example": the first silence was long enough.
            assert_eq!(silent.asked(), ["here A", "here AAAA", "here.test A", "here.test AAAA"]);
        });
    }

    #[test]
    fn a_forged_or_foreign_datagram_is_not_heard() {
        run(async {
            let server = Server::start(|query| {
                let mut answers = Vec::new();
                let forged = query.with(0, &[a("here.test", [203, 0, 113, 1])]).remove(0);
                for at in [0, 1, 15] {
                    let mut wrong = forged.clone();
                    wrong[at] ^= 1;
                    answers.push(wrong);
                }
                answers.extend([Vec::new(), b"junk".to_vec(), query.bytes.to_vec()]);
                answers.extend(zone(query));
                answers
            })
            .await;
            let found = found("here.test", &settings(&[server.address], &[])).await;
            assert_eq!(found, Ok(vec!["192.0.2.1".to_owned(), "2001:db8::1".into()]));
        });
    }

    #[test]
    fn a_long_answer_comes_over_tcp() {
        run(async {
            let server = Server::start(|query| match (query.streamed, query.v4) {
                (false, _) => query.with(TRUNCATED, &[]),
                (true, true) => query.with(0, &(0..60).map(|i| a("here.test", [192, 0, 2, i])).collect::<Vec<_>>()),
                (true, false) => query.with(TRUNCATED, &[]),
            })
            .await;
            let found = found("here.test", &settings(&[server.address], &[])).await;
            assert_eq!(found, Ok((0..4).map(|i| format!("192.0.2.{i}")).collect()));
            assert_eq!(server.asked().len(), 4);
        });
    }

    #[test]
    fn the_other_family_is_not_waited_for_long() {
        run(async {
            let server = Server::start(|query| if query.v4 { zone(query) } else { Vec::new() }).await;
            let found = found("here.test", &settings(&[server.address], &[])).await;
            assert_eq!(found, Ok(vec!["192.0.2.1".to_owned()]));
        });
    }

    #[test]
    fn ids_differ() {
        run(async {
            let server = Server::start(|query| {
                let id = u16::from_be_bytes([query.bytes[0], query.bytes[1]]);
                let text = format!("x{id}");
                vec![reply(query.bytes, 0, &[(query.name.as_str(), 5, name(&text))], &[])]
            })
            .await;
            let _ = look_up("here.test.", &settings(&[server.address], &[])).await;
            let asked = server.asked();
            assert!(asked.iter().collect::<std::collections::HashSet<_>>().len() > asked.len() / 2, "{asked:?}");
        });
    }
}
