//! One look at a session that runs: what it consists of, what it shows, what its program's files say, and what its
//! provider makes of that.
//!
//! A provider that does not observe, or fails at it, is done without: then the screen alone says what it can.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::granted::GrantedFiles;
use super::zone::Zone;
use super::{Launcher, off_the_reactor};
use crate::domain::control::observation::{
    Cursor, Doing, Observation, ROW_CHARACTERS_MAX, ROWS_MAX, RunningSession, ScreenView,
};
use crate::domain::time::Timestamp;
use crate::plugins::{Grants, PluginSet};
use crate::sessions::{Evidence, Facts, Mark, Screen, Seen, SessionName, View};

/// The most of a screen that is told, in bytes.
pub const SCREEN_BYTES_MAX: usize = 8 * 1024;
/// How long a screen stands still before what looks like an input is one: programs that start show many things for
/// a moment.
pub(super) const STILL: Duration = Duration::from_secs(3);
/// Characters of what is told of a dialog that no provider has read.
const DIALOG_MAX: usize = 1_000;
/// Sessions of which it is remembered what they showed; there are no more.
const REMEMBERED_MAX: usize = 2 * crate::sessions::SESSIONS_MAX;

/// What was seen of a session.
#[derive(Clone, Debug)]
pub struct Look {
    /// What its program is doing.
    pub observation: Observation,
    /// Whether its provider says so; otherwise it is what the screen looks like.
    pub is_observed: bool,
    /// The end of what it shows, at most 8 KiB.
    pub screen: String,
    /// What its provider was told of it.
    pub session: RunningSession,
    /// The id of its provider.
    pub provider: String,
    /// For how many milliseconds its screen has been as it is.
    pub still_ms: u64,
    pub(super) shown: Screen,
    pub(super) facts: Facts,
}

/// What looking at sessions remembers of the last look.
#[derive(Default)]
pub(super) struct Watch {
    stills: Mutex<HashMap<SessionName, Still>>,
    /// The variables of a session's program, by its process id.
    variables: Mutex<HashMap<SessionName, OfProgram>>,
    files: GrantedFiles,
    zone: Zone,
}

/// A program's process id, and variables that it was started with.
type OfProgram = (u32, BTreeMap<String, String>);

/// Since when a screen has been as it is.
struct Still {
    screen: u64,
    since: Instant,
}

impl Launcher {
    /// A mark for each session that runs, asked of all at once: only where it has changed there is something new to
    /// see. Costs one command of tmux, however many there are.
    pub async fn activity(&self) -> BTreeMap<SessionName, Mark> {
        self.sessions().activity().await
    }

    /// Looks at a session; nothing when it has ended.
    pub async fn look(&self, plugins: &PluginSet, name: &SessionName) -> Option<Look> {
        let facts = self.sessions().facts(name).await?;
        let View { screen, title, written_at_s } = self.sessions().view(name, &facts).await;
        let still_ms = self.0.watch.still_ms(name, &screen, written_at_s);
        let provider = facts.identity.provider.clone();
        let mut session = self.running(&facts).await;
        if let Some(grants) = plugins.grants(&provider) {
            session.variables = self.variables_of(name, &facts, grants).await;
            session.files = self.files_of(name, &session, grants).await;
        }
        let shown = view(&screen, title, still_ms);
        let observed = plugins.observe(&provider, &session, &shown).await.unwrap_or_else(|error| {
            // The operator has been told, once.
            tracing::debug!(session.name = %name, %error, "a session is looked at without its provider");
            None
        });
        let is_observed = observed.as_ref().is_some_and(|seen| seen.doing != Doing::Unknown);
        let looks_like = || looks_like(&screen, &facts.opening.ready.screen_texts, still_ms);
        let observation = match observed {
            // A program of another version, or one in its stead: it is read as any other is.
            Some(seen) if seen.doing == Doing::Unknown => {
                let like = looks_like();
                Observation { doing: like.doing, has_draft: seen.has_draft || like.has_draft, ..seen }
            }
            Some(seen) => seen,
            None => looks_like(),
        };
        if let Some(conversation) =
            observation.conversation.clone().filter(|it| session.conversation.as_ref() != Some(it))
        {
            if let Err(error) = self.sessions().keep_conversation(name, conversation.clone()).await {
                tracing::warn!(session.name = %name, %error, "cannot keep what a program's conversation is called");
            }
            session.conversation = Some(conversation);
        }
        let text = end_of(&screen.text());
        Some(Look { observation, is_observed, screen: text, session, provider, still_ms, shown: screen, facts })
    }

    async fn running(&self, facts: &Facts) -> RunningSession {
        let identity = &facts.identity;
        RunningSession {
            agent_id: identity.agent_id.clone(),
            label: identity.label.clone(),
            approval_mode: identity.approval_mode,
            cwd: identity.cwd.clone(),
            home: self.host().home.to_string_lossy().into_owned(),
            session_dir: facts.files_directory.to_string_lossy().into_owned(),
            pids: facts.pids.clone(),
            conversation: facts.conversation.clone(),
            now_ms: u64::try_from(Timestamp::now().as_ms()).unwrap_or_default(),
            utc_offset_minutes: self.0.watch.zone.offset_minutes().await,
            files: Vec::new(),
            variables: BTreeMap::new(),
        }
    }

    /// Those variables of a session's program that a granted pattern begins with.
    async fn variables_of(&self, name: &SessionName, facts: &Facts, grants: &Grants) -> BTreeMap<String, String> {
        let wanted: BTreeSet<String> = grants.variables().into_iter().map(str::to_owned).collect();
        let Some(pid) = facts.pids.first().copied().filter(|_| !wanted.is_empty()) else { return BTreeMap::new() };
        let known = {
            let known = self.0.watch.variables.lock().unwrap_or_else(PoisonError::into_inner);
            // Another set of plugins may want others.
            known.get(name).filter(|(of, known)| *of == pid && wanted.iter().eq(known.keys())).map(|(_, it)| it.clone())
        };
        let mut known = match known {
            Some(known) => known,
            None => {
                let all = self.sessions().environment_of(pid).await.unwrap_or_default();
                let value = |name: String| (name.clone(), all.get(&name).cloned().unwrap_or_default());
                let found: BTreeMap<String, String> = wanted.into_iter().map(value).collect();
                let mut known = self.0.watch.variables.lock().unwrap_or_else(PoisonError::into_inner);
                make_room(&mut known);
                known.insert(name.clone(), (pid, found.clone()));
                found
            }
        };
        known.retain(|_, value| !value.is_empty());
        known
    }

    async fn files_of(
        &self,
        name: &SessionName,
        session: &RunningSession,
        grants: &Grants,
    ) -> Vec<crate::domain::control::observation::GrantedFile> {
        let globs = grants.readable(session);
        if globs.is_empty() {
            return Vec::new();
        }
        let (launcher, name) = (self.clone(), name.clone());
        off_the_reactor(move || launcher.0.watch.files.read(&name, &globs)).await
    }
}

impl Watch {
    /// For how many milliseconds a screen has been as it is, as far as anybody knows.
    fn still_ms(&self, name: &SessionName, screen: &Screen, written_at_s: Option<u64>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (screen.rows(), screen.cursor()).hash(&mut hasher);
        let (screen, now) = (hasher.finish(), Instant::now());
        let mut stills = self.stills.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut stills);
        let still = stills.entry(name.clone()).or_insert(Still { screen, since: now });
        if still.screen != screen {
            *still = Still { screen, since: now };
        }
        let seen = u64::try_from(now.duration_since(still.since).as_millis()).unwrap_or(u64::MAX);
        // Where nothing was written, nothing changed either, also while nobody looked.
        let now_ms = u64::try_from(Timestamp::now().as_ms()).unwrap_or_default();
        let unwritten = written_at_s.map_or(0, |at| now_ms.saturating_sub(at * 1_000 + 1_000));
        seen.max(unwritten)
    }
}

/// What ended sessions leave behind goes when there is more of it than there can be sessions.
fn make_room<T>(of: &mut HashMap<SessionName, T>) {
    if of.len() >= REMEMBERED_MAX {
        of.clear();
    }
}

/// A screen as a provider is given it: its last rows.
fn view(screen: &Screen, title: String, still_ms: u64) -> ScreenView {
    let skipped = screen.rows().len().saturating_sub(ROWS_MAX);
    let number = |cells: usize| u32::try_from(cells).unwrap_or(u32::MAX);
    ScreenView {
        rows: screen.rows().iter().skip(skipped).map(|row| row.chars().take(ROW_CHARACTERS_MAX).collect()).collect(),
        cursor: screen
            .cursor()
            .map(|(column, row)| Cursor { column: number(column), row: number(row.saturating_sub(skipped)) }),
        title,
        still_ms,
    }
}

/// What a screen says about a program that nobody knows.
fn looks_like(screen: &Screen, known: &[String], still_ms: u64) -> Observation {
    let is_still = Duration::from_millis(still_ms) >= STILL;
    let doing = match screen.read(known) {
        Seen::Input(Evidence::Known) => Doing::Idle,
        Seen::Input(Evidence::Looks) if is_still => Doing::Idle,
        Seen::Dialog => {
            let text = screen.text();
            let skipped = text.chars().count().saturating_sub(DIALOG_MAX);
            Doing::Dialog(text.chars().skip(skipped).collect())
        }
        Seen::Input(Evidence::Looks) | Seen::Unknown => Doing::Unknown,
    };
    Observation { doing, has_draft: screen.has_draft(), conversation: None, version: None }
}

/// The end of a text, from the beginning of a character.
fn end_of(text: &str) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(SCREEN_BYTES_MAX));
    text[start..].to_owned()
}
