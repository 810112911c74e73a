//! What everything may have at most, by one look: in count, bytes, characters and time.
//!
//! Each row names the constant that is used, so that the table cannot say anything else. What an operator may move is
//! a setting of `examples/relay.toml`, and stands here with its default. A test goes to each bound whose
//! excess a request can show, and past it; every other row names the test that does.

use std::time::Duration;

use crate::domain::control::orchestrator;
use crate::domain::integration::signature;
use crate::domain::task::callback;
use crate::domain::{activity, agent, attention, integration, message, page, pair, task, text};
use crate::jobs::deliver;
use crate::{config, http, mcp, plugins, sessions, stream};

/// One bound.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Of what: the name of a field, or some words.
    pub of: &'static str,
    /// The most there may be.
    pub most: Most,
    /// What becomes of more.
    pub more: More,
    /// The setting that moves it.
    pub setting: Option<&'static str>,
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Most {
    /// So many.
    Count(usize),
    /// So many bytes.
    Bytes(usize),
    /// So many characters.
    Chars(usize),
    /// So long.
    Time(Duration),
}

/// What becomes of what is beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// The request is refused with this code.
    Refused(&'static str),
    /// Something else, which this test shows.
    Shown(&'static str),
}

const fn refused(of: &'static str, most: Most, code: &'static str) -> Bound {
    Bound { of, most, more: More::Refused(code), setting: None }
}

const fn shown(of: &'static str, most: Most, test: &'static str) -> Bound {
    Bound { of, most, more: More::Shown(test), setting: None }
}

const fn set(of: &'static str, most: Most, test: &'static str, setting: &'static str) -> Bound {
    Bound { of, most, more: More::Shown(test), setting: Some(setting) }
}

use Most::{Bytes, Chars, Count, Time};

const INVALID: &str = "invalid_request";
const SLOW: &str = "a_slow_reader_gets_everything_and_delays_nobody";

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}

/// All of them.
pub const ALL: &[Bound] = &[
    // A request.
    refused("target of a request", Bytes(http::URI_BYTES_MAX), "uri_too_long"),
    refused("head", Bytes(http::HEAD_BYTES_MAX), "head_too_large"),
    refused("headers", Count(http::HEADERS_MAX), "head_too_large"),
    refused("body of a request", Bytes(http::BODY_MAX), "body_too_large"),
    set(
        "time of a head",
        Time(seconds(config::HEAD_SECONDS)),
        "a_request_that_does_not_come_to_its_end_is_ended",
        "head_seconds",
    ),
    set(
        "time of a request",
        Time(seconds(config::REQUEST_SECONDS)),
        "a_request_that_does_not_come_to_its_end_is_ended",
        "request_seconds",
    ),
    set(
        "events of integrations that a caller sends in a minute",
        Count(config::INTEGRATIONS_PER_MINUTE as usize),
        "each_integration_has_its_own_rate_and_no_flood_takes_it",
        "integrations_per_minute",
    ),
    refused("wait of a long poll", Time(Duration::from_secs(http::WAIT_MAX)), INVALID),
    // Its fields.
    refused("id", Chars(text::ID_MAX), INVALID),
    refused("name", Chars(text::WORD_MAX), INVALID),
    refused("label", Chars(text::WORD_MAX), INVALID),
    refused("tag", Chars(text::WORD_MAX), INVALID),
    refused("tags", Count(text::LIST_MAX), INVALID),
    refused("capabilities", Count(text::LIST_MAX), INVALID),
    refused("meta", Bytes(text::META_BYTES_MAX), INVALID),
    refused("depth of meta", Count(text::json::DEPTH_MAX), INVALID),
    refused("to", Chars(text::TARGET_MAX), INVALID),
    refused("subject", Chars(message::SUBJECT_MAX), INVALID),
    refused("body", Bytes(text::BODY_BYTES_MAX), INVALID),
    refused("channel", Chars(message::CHANNEL_MAX), INVALID),
    refused("idempotencyKey", Chars(text::KEY_MAX), INVALID),
    refused("leaseMs", Time(Duration::from_millis(message::LEASE_MS_MAX as u64)), INVALID),
    refused("detail", Chars(agent::DETAIL_MAX), INVALID),
    refused("objective", Chars(pair::OBJECTIVE_MAX), INVALID),
    refused("title", Chars(activity::TITLE_MAX), INVALID),
    refused("hostname", Chars(orchestrator::ORCHESTRATOR_ID_MAX), INVALID),
    refused("baseDir", Chars(text::PATH_MAX), INVALID),
    refused("agents of an orchestrator", Count(orchestrator::MANAGED_MAX), INVALID),
    refused("prompt", Chars(orchestrator::PROMPT_MAX), INVALID),
    refused("title of a task", Chars(task::TITLE_MAX), INVALID),
    refused("metadata of a task", Bytes(text::META_BYTES_MAX), INVALID),
    refused("dedupeKey", Chars(text::KEY_MAX), INVALID),
    refused("callbackUrl", Chars(task::CALLBACK_URL_MAX), INVALID),
    refused("options", Count(task::OPTIONS_MAX), INVALID),
    refused("option", Chars(task::OPTION_MAX), INVALID),
    refused("answer", Bytes(task::NOTE_BYTES_MAX), INVALID),
    shown("dependsOn", Count(task::DEPENDENCIES_MAX), "a_tasks_fields_are_bounded"),
    shown("note and result of a task", Bytes(task::NOTE_BYTES_MAX), "a_tasks_fields_are_bounded"),
    shown(
        "events kept of a task",
        Count(task::EVENTS_KEPT as usize),
        "of_a_task_that_goes_on_the_newest_events_are_kept",
    ),
    // Integrations.
    shown("name of an integration", Chars(integration::NAME_MAX), "names_stand_in_a_path_and_are_nobody_elses"),
    shown("integrations with secrets", Count(integration::CONFIGURED_MAX), "integrations_are_not_without_end"),
    shown(
        "secrets of an integration",
        Count(signature::SECRETS_MAX),
        "secrets_are_what_they_must_be_and_are_not_printed",
    ),
    shown(
        "age of a signature, either way",
        Time(Duration::from_secs(signature::TOLERANCE_SECONDS as u64)),
        "a_time_may_be_five_minutes_off_either_way",
    ),
    shown(
        "integrations without a secret that are counted",
        Count(integration::SEEN_MAX),
        "made_up_names_fill_nothing_and_push_no_configured_one_out",
    ),
    shown("id of a delivery", Chars(text::KEY_MAX), "a_delivery_that_comes_again_makes_nothing"),
    shown(
        "ids of deliveries that are remembered",
        Count(integration::REPLAYS_COUNT as usize),
        "ids_of_deliveries_are_forgotten_when_they_are_old_or_too_many",
    ),
    shown(
        "time the id of a delivery is remembered",
        Time(Duration::from_millis(integration::REPLAYS_MS as u64)),
        "ids_of_deliveries_are_forgotten_when_they_are_old_or_too_many",
    ),
    shown(
        "deliveries of an integration kept unread",
        Count(integration::KEPT_MAX as usize),
        "of_each_integration_the_newest_hundred_are_kept",
    ),
    shown(
        "body of a kept delivery",
        Bytes(integration::BODY_KEPT_MAX),
        "a_long_body_is_kept_without_its_end_and_not_tried_again",
    ),
    // Callbacks.
    shown("payload of a callback", Bytes(callback::PAYLOAD_BYTES_MAX), "what_is_too_long_is_left_out_and_said"),
    shown(
        "callbacks kept of a task",
        Count(task::EVENTS_KEPT as usize),
        "of_a_task_that_is_told_without_end_the_newest_are_kept",
    ),
    shown("attempts kept of a callback", Count(callback::ATTEMPTS_KEPT), "of_many_attempts_the_newest_are_kept"),
    shown("time of an attempt", Time(deliver::TIMEOUT), "an_attempt_ends_however_its_receiver_does_not"),
    shown("answer that is read", Bytes(deliver::ANSWER_BYTES_MAX), "of_an_answer_without_end_a_part_is_read"),
    shown("answer that is kept", Bytes(callback::ANSWER_BYTES_KEPT), "of_an_answer_without_end_a_part_is_read"),
    shown(
        "wait for the next attempt",
        Time(Duration::from_millis(callback::WAIT_MS_MAX as u64)),
        "a_receiver_that_asks_for_time_gets_it",
    ),
    shown("callbacks on their way", Count(deliver::SENT_AT_ONCE), "who_does_not_answer_leaves_places_for_those_who_do"),
    shown(
        "callbacks on their way to receivers that fail",
        Count(deliver::FAILING_AT_ONCE),
        "who_does_not_answer_leaves_places_for_those_who_do",
    ),
    shown(
        "callbacks on their way to one receiver",
        Count(deliver::OF_RECEIVER_AT_ONCE),
        "a_receiver_has_a_few_places_and_a_line_has_one",
    ),
    // An answer.
    refused("limit", Count(page::Limit::MAX.get()), INVALID),
    shown("page", Bytes(page::BYTES_MAX), "a_page_ends_before_it_has_too_many_bytes_and_the_next_one_goes_on"),
    shown("agents named that read a message", Count(message::READ_BY_MAX), "only_the_first_readers_are_named"),
    set(
        "time an answer waits for its reader",
        Time(seconds(config::STALL_SECONDS)),
        "an_answer_that_nobody_reads_is_ended",
        "stall_seconds",
    ),
    shown("title of what waits for a person", Chars(attention::TITLE_MAX), "what_waits_is_said_in_few_words"),
    shown("hint of what waits for a person", Chars(attention::HINT_MAX), "what_waits_is_said_in_few_words"),
    // What is shown to sessions.
    shown("notice", Chars(message::notice::NOTICE_MAX), "a_host_says_what_it_saw_and_nothing_else"),
    shown("messages of a notice", Count(message::delivery::TOGETHER_MAX), "a_host_says_what_it_saw_and_nothing_else"),
    shown("what is said of a delivery", Chars(message::delivery::SAID_MAX), "a_host_says_what_it_saw_and_nothing_else"),
    shown("tries of a delivery", Count(message::delivery::WAITS_MS.len()), "four_tries_in_vain_are_enough"),
    shown("similar targets", Count(message::SIMILAR_MAX), "who_writes_to_nobody_is_told_who_may_be_meant"),
    set(
        "replies by agents in a thread within ten minutes",
        Count(config::THREAD_REPLIES as usize),
        "agents_that_answer_each_other_without_end_are_stopped_and_persons_are_not",
        "thread_replies",
    ),
    // Tools.
    shown("answer of a tool", Bytes(mcp::ANSWER_BYTES_MAX), "a_long_inbox_says_what_was_left_out_and_how_to_get_it"),
    shown("messages of a batch", Count(mcp::BATCH_MAX), "batches_are_taken_where_the_version_has_them"),
    shown("wait of a tool", Time(Duration::from_secs(mcp::WAIT_SECONDS_MAX)), "a_wait_ends_before_clients_do"),
    shown("waits of an agent", Count(mcp::WAITS_MAX), "nothing_is_held_for_a_client_that_is_gone"),
    // Connections and streams.
    set(
        "connections",
        Count(config::CONNECTIONS as usize),
        "when_all_connections_are_in_use_whoever_waits_longest_goes_and_health_is_always_told",
        "connections",
    ),
    set(
        "connections of an address",
        Count(config::CONNECTIONS_PER_ADDRESS as usize),
        "one_address_does_not_have_all_connections",
        "connections_per_address",
    ),
    set(
        "bodies and answers in memory",
        Bytes((config::BUFFERS_MB as usize) << 20),
        "who_keeps_memory_without_reading_goes_for_others",
        "buffers_mb",
    ),
    set("streams", Count(config::STREAMS as usize), "beyond_the_limit_no_stream_is_opened", "streams"),
    shown("events that wait for a stream", Count(stream::QUEUE_MAX), SLOW),
    shown("bytes of events that wait for a stream", Bytes(stream::QUEUE_BYTES_MAX), SLOW),
    set(
        "time an event waits for its reader",
        Time(seconds(config::STALL_SECONDS)),
        "a_stream_that_nobody_reads_is_ended_and_one_that_has_nothing_to_read_is_not",
        "stall_seconds",
    ),
    // Plugins and sessions. What a manifest may ask for is in `plugins/MANIFEST.md`; these are the most it may.
    shown("folders of plugins", Count(plugins::FOLDERS_MAX), "what_is_new_pushes_nothing_out_of_a_full_directory"),
    shown(
        "memory of a plugin's call",
        Bytes((plugins::MEMORY_MB_MAX as usize) << 20),
        "filling_memory_keeps_nobody_waiting",
    ),
    shown(
        "time of a plugin's call",
        Time(Duration::from_millis(plugins::DEADLINE_MS_MAX as u64)),
        "bounds_and_defaults_are_those_that_hold",
    ),
    shown(
        "question to a plugin",
        Bytes((plugins::INPUT_KB_MAX as usize) << 10),
        "a_question_beyond_the_limit_is_not_asked",
    ),
    shown(
        "answer of a plugin",
        Bytes((plugins::OUTPUT_KB_MAX as usize) << 10),
        "an_answer_beyond_the_limit_is_a_refusal",
    ),
    shown(
        "log lines of a plugin's call",
        Count(plugins::LOG_LINES_MAX as usize),
        "a_flood_of_log_lines_is_cut_off_and_harmless",
    ),
    shown("log of a session", Bytes(sessions::LOG_BYTES_MAX as usize), "a_flood_of_output_is_kept_within_bounds"),
];
