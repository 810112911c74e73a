//! One address before relays that come and go, and connections that are cut in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Hands every connection on to the relay of the moment.
pub(crate) struct Forwarder {
    pub(crate) url: String,
    plan: Arc<Mutex<Plan>>,
    severed: watch::Sender<()>,
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    /// Where the next connection leads; it is closed at once when this is nowhere.
    target: Option<String>,
    /// After how many bytes of the answer the next connections are cut.
    cuts: VecDeque<usize>,
}

impl Forwarder {
    /// One that leads nowhere yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let (severed, held) = (watch::Sender::new(()), watch::Sender::new(false));
        let (of_task, severing, holding) = (plan.clone(), severed.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, cut) = {
                    let mut plan = of_task.lock().unwrap_or_else(PoisonError::into_inner);
                    (plan.target.clone(), plan.cuts.pop_front())
                };
                let Some(target) = target else { continue };
                let (mut severed, held) = (severing.subscribe(), holding.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = forward(client, &target, cut.unwrap_or(usize::MAX), held) => {}
                        _ = severed.changed() => {}
                    }
                });
            }
        });
        Self { url, plan, severed, held }
    }

    /// Later connections lead to the relay at this address.
    pub(crate) fn lead_to(&self, address: &str) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).target = Some(address.to_owned());
    }

    /// One later connection is cut after so many bytes of its answer.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).cuts.push_back(bytes);
    }

    /// No byte comes through any connection from now on, and none is closed: so does a network that is cut. Or bytes
    /// come through again.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Cuts every connection now.
    pub(crate) fn sever(&self) {
        self.severed.send_replace(());
    }
}

/// Until either side ends, or so many bytes of the answer have gone through.
async fn forward(mut client: TcpStream, target: &str, mut left: usize, mut held: watch::Receiver<bool>) {
    let Ok(mut relay) = TcpStream::connect(target).await else { return };
    let (mut asked, mut answered) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    while left > 0 {
        let forwarded = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(count @ 1..) => {
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    relay.write_all(&asked[..count]).await
                }
                _ => return,
            },
            read = relay.read(&mut answered) => match read {
                Ok(count @ 1..) => {
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    let count = count.min(left);
                    left -= count;
                    client.write_all(&answered[..count]).await
                }
                _ => return,
            },
        };
        if forwarded.is_err() {
            return;
        }
    }
}
