//! The pulse: in which sessions something happened, asked of all of them at once and told to everybody who sees to one.
//! It beats only while somebody listens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Launcher;
use crate::sessions::{Mark, SessionName};

/// How often it is asked: one command of tmux each time, however many sessions there are.
const BEAT: Duration = Duration::from_secs(1);

/// The mark of each session at one moment.
pub(super) type Marks = Arc<BTreeMap<SessionName, Mark>>;

/// What beats, as long as somebody listens.
#[derive(Default)]
pub(super) struct Pulse(Mutex<Option<watch::Sender<Marks>>>);

impl Launcher {
    /// Listens from now on. The first beat comes soon.
    pub(super) fn pulse(&self) -> watch::Receiver<Marks> {
        let mut pulse = self.0.pulse.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*pulse {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Marks::default());
        *pulse = Some(sender);
        tokio::spawn(self.clone().beat());
        receiver
    }

    async fn beat(self) {
        let mut beats = interval(BEAT);
        // After a tmux that did not answer, nothing is made up for.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let marks = self.activity().await;
            let mut pulse = self.0.pulse.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sender) = &*pulse else { return };
            if sender.receiver_count() == 0 {
                *pulse = None;
                return;
            }
            // Where nothing happened, nobody has to be woken.
            sender.send_if_modified(|known| {
                let is_news = **known != marks;
                if is_news {
                    *known = Arc::new(marks);
                }
                is_news
            });
        }
    }
}
