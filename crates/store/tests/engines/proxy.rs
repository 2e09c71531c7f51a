//! A network between a client and members that can be cut, and that can fall silent.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What the network does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It carries what is sent.
    Works,
    /// It carries nothing, and says so to nobody.
    Silent,
}

/// The way to one member.
pub struct Proxy {
    pub port: u16,
    network: Arc<watch::Sender<Network>>,
    /// Counts cuts; whoever sees it move ends.
    cuts: Arc<watch::Sender<u64>>,
    accepts: AbortHandle,
}

impl Proxy {
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (network, cuts) = (Arc::new(watch::channel(Network::Works).0), Arc::new(watch::channel(0).0));
        let (all, every) = (network.clone(), cuts.clone());
        let accepts = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (network, mut cut) = (all.subscribe(), every.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(near, port, network) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Proxy { port: own, network, cuts, accepts: accepts.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends all connections; new ones can be made.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.cut();
    }
}

async fn carry(near: TcpStream, port: u16, network: watch::Receiver<Network>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (near, far) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near.0, far.1, network.clone()) => {}
        () = pass(far.0, near.1, network) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut network: watch::Receiver<Network>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let works = network.wait_for(|network| *network == Network::Works).await.is_ok();
        if !works || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
