//! One address before relays that come and go, and connections that are cut in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Hands every connection on to the relay of the moment.
pub(super) struct Forwarder {
    pub(super) url: String,
    plan: Arc<Mutex<Plan>>,
    severed: watch::Sender<()>,
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
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let severed = watch::Sender::new(());
        let (of_task, severing) = (plan.clone(), severed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, cut) = {
                    let mut plan = of_task.lock().unwrap_or_else(PoisonError::into_inner);
                    (plan.target.clone(), plan.cuts.pop_front())
                };
                let Some(target) = target else { continue };
                let mut severed = severing.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        () = forward(client, &target, cut.unwrap_or(usize::MAX)) => {}
                        _ = severed.changed() => {}
                    }
                });
            }
        });
        Self { url, plan, severed }
    }

    /// Later connections lead to the relay at this address.
    pub(super) fn lead_to(&self, address: &str) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).target = Some(address.to_owned());
    }

    /// One later connection is cut after so many bytes of its answer.
    pub(super) fn cut_after(&self, bytes: usize) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).cuts.push_back(bytes);
    }

    /// Cuts every connection now.
    pub(super) fn sever(&self) {
        self.severed.send_replace(());
    }
}

/// Until either side ends, or so many bytes of the answer have gone through.
async fn forward(mut client: TcpStream, target: &str, mut left: usize) {
    let Ok(mut relay) = TcpStream::connect(target).await else { return };
    let (mut asked, mut answered) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    while left > 0 {
        let forwarded = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(count @ 1..) => relay.write_all(&asked[..count]).await,
                _ => return,
            },
            read = relay.read(&mut answered) => match read {
                Ok(count @ 1..) => {
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
