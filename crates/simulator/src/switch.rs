//! Stands before servers of one kind, at one address, and leads whoever connects to the one that it points to now: what a
//! virtual address or a proxy does that follows a primary.
//!
//! Must never change a byte that it passes on, and never lets a connection go on to where it does not point any more. To
//! look at what is passed on: a [`Relay`]. To add a way in which connections end: a variant of [`Farewell`], and its arm
//! in `lead`.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{copy, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What those hear who were led to where it does not point any more, and who come while it points nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// They are hung up on: the server's process has ended.
    Cut,
    /// Nothing, ever: its machine is gone.
    Silence,
}

/// What passes the bytes of one connection on.
pub trait Relay: Send + Sync + 'static {
    /// Until one side, or the relay itself, ends it; then both sides are cut.
    fn relay(&self, client: &mut TcpStream, server: &mut TcpStream) -> impl Future<Output = ()> + Send;
}

/// Everything, as it is.
#[derive(Debug, Clone, Copy)]
pub struct Untouched;

impl Relay for Untouched {
    async fn relay(&self, client: &mut TcpStream, server: &mut TcpStream) {
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
        tokio::select! {
            _ = copy(&mut from_client, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
        }
    }
}

/// Where it points, and what the others hear.
#[derive(Debug, Clone)]
struct Course {
    target: Option<(String, u16)>,
    farewell: Farewell,
}

/// See the module. Dropping it cuts all.
#[derive(Debug)]
pub struct Switch {
    address: SocketAddr,
    course: watch::Sender<Course>,
    acceptor: JoinHandle<()>,
}

impl Switch {
    /// On a port of 127.0.0.1; it points nowhere yet.
    ///
    /// # Errors
    /// No port.
    pub async fn start(relay: impl Relay) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (course, led) = watch::channel(Course { target: None, farewell: Farewell::Cut });
        let acceptor = tokio::spawn(accept(listener, led, Arc::new(relay)));
        Ok(Self { address, course, acceptor })
    }

    /// From now on it leads there.
    pub fn point(&self, host: &str, port: u16, farewell: Farewell) {
        self.course.send_replace(Course { target: Some((host.to_owned(), port)), farewell });
    }

    /// From now on it leads nowhere.
    pub fn close(&self, farewell: Farewell) {
        self.course.send_replace(Course { target: None, farewell });
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A database's URL (`postgres://NAME:PASSWORD@HOST:PORT/DATABASE`) through this; `None` if it is none.
    #[must_use]
    pub fn url(&self, url: &str) -> Option<String> {
        let (head, tail) = url.rsplit_once('@')?;
        let (_, database) = tail.split_once('/')?;
        Some(format!("{head}@{}/{database}", self.address))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, course: watch::Receiver<Course>, relay: Arc<impl Relay>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(lead(client, course.clone(), Arc::clone(&relay)));
    }
}

/// One connection, from its beginning to its end.
async fn lead(mut client: TcpStream, mut course: watch::Receiver<Course>, relay: Arc<impl Relay>) {
    let Course { target, mut farewell } = course.borrow_and_update().clone();
    if let Some((host, port)) = target {
        // A server that is not there does not answer: whoever wants it is hung up on.
        let Ok(mut server) = TcpStream::connect((host.as_str(), port)).await else { return };
        if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
            return;
        }
        tokio::select! {
            () = relay.relay(&mut client, &mut server) => return,
            changed = course.changed() => if changed.is_err() { return },
        }
        farewell = course.borrow().farewell;
    }
    if farewell == Farewell::Silence {
        let mut nowhere = sink();
        tokio::select! {
            _ = copy(&mut client, &mut nowhere) => {}
            () = gone(course) => {}
        }
    }
}

/// Returns when the switch has been dropped.
async fn gone(mut course: watch::Receiver<Course>) {
    while course.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that says one letter and holds the connection; its port.
    async fn server(letter: u8) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                client.write_all(&[letter]).await.unwrap();
                held.push(client);
            }
        });
        port
    }

    async fn connect(switch: &Switch) -> TcpStream {
        TcpStream::connect(("127.0.0.1", switch.port())).await.unwrap()
    }

    /// What is said first; `None` if whoever connected is hung up on.
    async fn heard(client: &mut TcpStream) -> Option<u8> {
        client.read_u8().await.ok()
    }

    #[tokio::test]
    async fn whoever_connects_is_led_to_where_it_points_and_those_before_are_cut() {
        let (first, second) = (server(b'1').await, server(b'2').await);
        let switch = Switch::start(Untouched).await.unwrap();
        assert_eq!(heard(&mut connect(&switch).await).await, None, "it points nowhere yet");
        switch.point("127.0.0.1", first, Farewell::Cut);
        let mut before = connect(&switch).await;
        assert_eq!(heard(&mut before).await, Some(b'1'));
        switch.point("127.0.0.1", second, Farewell::Cut);
        assert_eq!(heard(&mut before).await, None);
        assert_eq!(heard(&mut connect(&switch).await).await, Some(b'2'));
    }

    #[tokio::test]
    async fn where_nobody_says_goodbye_former_connections_hear_nothing_until_it_is_gone() {
        let port = server(b'1').await;
        let switch = Switch::start(Untouched).await.unwrap();
        switch.point("127.0.0.1", port, Farewell::Cut);
        let mut before = connect(&switch).await;
        assert_eq!(heard(&mut before).await, Some(b'1'));
        switch.close(Farewell::Silence);
        switch.point("127.0.0.1", port, Farewell::Silence);
        assert_eq!(heard(&mut connect(&switch).await).await, Some(b'1'));
        before.write_all(b"hello?").await.unwrap();
        let nothing = before.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(switch);
        assert_eq!(heard(&mut before).await, None);
    }

    #[tokio::test]
    async fn a_url_is_led_through_it() {
        let switch = Switch::start(Untouched).await.unwrap();
        let through = format!("postgres://ada:secret@127.0.0.1:{}/name", switch.port());
        assert_eq!(switch.url("postgres://ada:secret@db.internal:5432/name"), Some(through));
        assert_eq!(switch.url("sqlite://name.db"), None);
    }
}
