//! What the relay tells of itself to who runs it: `/metrics`, `/health` and `/ready`, on a listener
//! and a thread of their own.
//!
//! Nothing is gathered before somebody asks. Threads only count, each for itself.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::core::Relay;
use super::pool::JobSender;
use super::pulse::Pulse;
use crate::fanout::Consumer;
use crate::metrics::exposition::{Exposition, Unit, seconds};
use crate::metrics::{
    CLASSES, CoreMetrics, Counter, HANDSHAKE_FAILURES, PLANS, PluginMetrics, QueryMetrics, REASONS,
    VERDICTS,
};
use crate::net::{self, Bytes, RequestHead, Response, Site};
use crate::policy::Activity;
use crate::store;
use crate::sys;
use crate::sys::process;

/// Everything there is to tell of.
pub(super) struct Report {
    pub(super) relay: Arc<Relay>,
    pub(super) cores: Arc<[Arc<CoreMetrics>]>,
    pub(super) plugin: Arc<PluginMetrics>,
    pub(super) pulse: Pulse,
    pub(super) work: JobSender,
    /// Knows how far the ring is.
    pub(super) ring: Consumer,
}

impl Report {
    /// Answers requests until the server stops.
    pub(super) fn serve(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = async move {
            // An error means that the one who could say so is gone, which says the same.
            let _ = stop.wait_for(|is_stopping| *is_stopping).await;
        };
        LocalSet::new().block_on(&runtime, net::serve_plain(listener, Rc::new(self), stopped))
    }

    /// Returns the page of metrics.
    fn metrics(&self) -> String {
        let mut page = Exposition::default();
        page.gauge("chappe_build_info", "Always 1; the version is a label.")
            .labelled(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
        self.tell_connections(&mut page);
        self.tell_tls(&mut page);
        self.tell_events(&mut page);
        self.tell_queries(&mut page);
        self.tell_writer(&mut page);
        self.tell_queues(&mut page);
        self.tell_guard(&mut page);
        self.tell_plugin(&mut page);
        self.tell_store(&mut page);
        self.tell_care(&mut page);
        self.relay.gate.tell(&mut page);
        tell_process(&mut page);
        page.into_text()
    }

    /// Tells one counter of every core.
    fn by_core(
        &self,
        page: &mut Exposition,
        name: &'static str,
        help: &str,
        counter: impl Fn(&CoreMetrics) -> &Counter,
    ) {
        let mut samples = page.counter(name, help);
        for (number, core) in self.cores.iter().enumerate() {
            samples.labelled(&format!("core=\"{number}\""), counter(core).total());
        }
    }

    /// Tells one counter of each reason, of all cores together.
    fn by_reason(
        &self,
        page: &mut Exposition,
        name: &'static str,
        help: &str,
        counters: impl Fn(&CoreMetrics) -> &[Counter; REASONS.len()],
    ) {
        let mut samples = page.counter(name, help);
        for (place, reason) in REASONS.iter().enumerate() {
            let refused = self.cores.iter().map(|core| counters(core)[place].total());
            samples.labelled(&format!("reason=\"{reason}\""), refused.sum::<u64>());
        }
    }

    fn tell_connections(&self, page: &mut Exposition) {
        let opened = "Connections that became websockets.";
        self.by_core(page, "chappe_connections_opened_total", opened, |it| {
            &it.connections_opened_total
        });
        let closed = "Websockets that ended.";
        self.by_core(page, "chappe_connections_closed_total", closed, |it| {
            &it.connections_closed_total
        });
        let sum = |counter: fn(&CoreMetrics) -> &Counter| -> u64 {
            self.cores.iter().map(|core| counter(core).total()).sum()
        };
        // What ended is read first, so that it is never more than what began.
        let closed = sum(|it| &it.connections_closed_total);
        let opened = sum(|it| &it.connections_opened_total);
        page.gauge("chappe_connections", "Websockets that are open.").value(opened - closed);
        let closed = sum(|it| &it.subscriptions_closed_total);
        let opened = sum(|it| &it.subscriptions_opened_total);
        page.gauge("chappe_subscriptions", "Subscriptions that are open.")
            .value(opened.saturating_sub(closed));
        let received = "Bytes read from websockets.";
        self.by_core(page, "chappe_received_bytes_total", received, |it| {
            &it.traffic.received_bytes_total
        });
        let sent = "Bytes written to websockets.";
        self.by_core(page, "chappe_sent_bytes_total", sent, |it| &it.traffic.sent_bytes_total);
        let messages = "Messages received from clients.";
        self.by_core(page, "chappe_messages_total", messages, |it| &it.messages_total);
        let paused = "Times a socket was not read on, because a queue was full or a rate used up.";
        self.by_core(page, "chappe_pauses_total", paused, |it| &it.paused_total);
        let slow = "Connections given up because their clients did not read.";
        self.by_core(page, "chappe_slow_readers_total", slow, |it| &it.slow_readers_total);
    }

    fn tell_tls(&self, page: &mut Exposition) {
        let done = "Handshakes of TLS that came to their end.";
        self.by_core(page, "chappe_tls_handshakes_total", done, |it| &it.traffic.handshakes_total);
        let help = "Handshakes of TLS that did not, by reason.";
        let mut samples = page.counter("chappe_tls_handshakes_failed_total", help);
        for (place, reason) in HANDSHAKE_FAILURES.iter().enumerate() {
            let failed = self.cores.iter().map(|it| &it.traffic.handshakes_failed_total[place]);
            samples
                .labelled(&format!("reason=\"{reason}\""), failed.map(Counter::total).sum::<u64>());
        }
        if let Some(certificate) = &self.relay.in_force.load().certificate {
            let help = "When the certificate in force ends, in seconds since 1970.";
            page.gauge("chappe_tls_certificate_end_timestamp_seconds", help)
                .value(certificate.ends_at());
            let left = certificate.ends_at().saturating_sub(self.relay.clock.now_secs());
            page.gauge("chappe_tls_certificate_days_left", "Whole days until then.")
                .value(left / 86_400);
        }
    }

    fn tell_events(&self, page: &mut Exposition) {
        let received = "Events received that passed the checks of form, limits and policy.";
        self.by_core(page, "chappe_events_received_total", received, |it| &it.events_total);
        let known = "Events answered as duplicates before their signature was looked at.";
        self.by_core(page, "chappe_events_known_total", known, |it| &it.events_duplicate_total);
        let help = "Events that were refused before the store was asked, by the prefix of the OK.";
        self.by_reason(page, "chappe_events_refused_total", help, |it| &it.events_refused_total);
        let help = "REQ, COUNT and reconciliations refused, by the prefix of CLOSED or NEG-ERR.";
        self.by_reason(page, "chappe_questions_refused_total", help, |it| {
            &it.questions_refused_total
        });
        let help = "Events that the store has decided on, by the class of their kind and verdict.";
        let mut samples = page.counter("chappe_events_total", help);
        let counts = &self.pulse.writer.metrics().events_total;
        for (class, row) in CLASSES.iter().zip(counts) {
            for (verdict, count) in VERDICTS.iter().zip(row) {
                let labels = format!("class=\"{class}\",verdict=\"{verdict}\"");
                samples.labelled(&labels, count.total());
            }
        }
        let stored = "Stored events sent in answer to REQ.";
        self.by_core(page, "chappe_events_sent_stored_total", stored, |it| {
            &it.events_sent_stored_total
        });
        let live = "Events sent to subscriptions as they came in.";
        self.by_core(page, "chappe_events_sent_live_total", live, |it| &it.events_sent_live_total);
    }

    fn tell_queries(&self, page: &mut Exposition) {
        let opened = "Subscriptions opened by REQ.";
        self.by_core(page, "chappe_subscriptions_opened_total", opened, |it| {
            &it.subscriptions_opened_total
        });
        let counts = "Questions answered by COUNT.";
        self.by_core(page, "chappe_counts_total", counts, |it| &it.counts_total);
        let reconciled = "Messages of reconciliations (NIP-77) that asked for work.";
        self.by_core(page, "chappe_reconciliation_messages_total", reconciled, |it| {
            &it.reconciliation_messages_total
        });
        let inline = "Slices of queries run on the core that took the question.";
        self.by_core(page, "chappe_slices_inline_total", inline, |it| &it.slices_inline_total);
        let handed = "Slices of queries handed to the pool.";
        self.by_core(page, "chappe_slices_pooled_total", handed, |it| &it.slices_handed_total);
        let of = |plan: usize| self.cores.iter().map(move |core| &core.queries[plan]);
        let labels: Vec<String> = PLANS.iter().map(|plan| format!("plan=\"{plan}\"")).collect();
        let help = "Time of work on each query that was answered to its end, by what it was \
                    answered from; waiting does not count.";
        let mut samples = page.histogram("chappe_query_seconds", help);
        for (plan, labels) in labels.iter().enumerate() {
            samples.magnitudes(labels, Unit::Micros, of(plan).map(|it| &it.work_micros));
        }
        let mut by_plan = |name, help, counter: fn(&QueryMetrics) -> &Counter| {
            let mut samples = page.counter(name, help);
            for (plan, labels) in labels.iter().enumerate() {
                samples.labelled(labels, of(plan).map(|it| counter(it).total()).sum::<u64>());
            }
        };
        by_plan("chappe_query_rows_total", "Events that queries gave out.", |it| &it.rows_total);
        by_plan("chappe_query_steps_total", "Steps of queries, about one an index entry.", |it| {
            &it.steps_total
        });
    }

    fn tell_writer(&self, page: &mut Exposition) {
        let writer = self.pulse.writer.metrics();
        page.histogram("chappe_batch_events", "Events of each batch.").magnitudes(
            "",
            Unit::One,
            [&writer.batch_events].into_iter(),
        );
        page.histogram("chappe_commit_seconds", "Time of each commit.").magnitudes(
            "",
            Unit::Micros,
            [&writer.commit_micros].into_iter(),
        );
        page.counter("chappe_tidy_seconds_total", "Time of merging, expiry and erasing.")
            .value(seconds(writer.tidy_micros_total.total()));
        page.counter("chappe_batches_failed_total", "Batches that could not be stored.")
            .value(writer.batches_failed_total.total());
    }

    fn tell_queues(&self, page: &mut Exposition) {
        page.gauge("chappe_writer_queue", "Events that wait for the writer.")
            .value(self.pulse.writer.waiting());
        page.gauge("chappe_pool_queue", "Jobs that wait for the pool.").value(self.work.count());
        let mut samples =
            page.gauge("chappe_core_inbox", "Messages of other threads that wait for a core.");
        for (number, inbox) in self.pulse.inboxes.0.iter().enumerate() {
            samples.labelled(&format!("core=\"{number}\""), inbox.count());
        }
        let head = self.ring.head();
        let mut samples =
            page.gauge("chappe_ring_lag_batches", "Batches that a core has yet to deliver.");
        for (number, core) in self.cores.iter().enumerate() {
            let lag = head.saturating_sub(core.ring_position.value());
            samples.labelled(&format!("core=\"{number}\""), lag);
        }
        let lapped = "Times the ring lapped a core, which then read what it missed from the store.";
        self.by_core(page, "chappe_ring_lapped_total", lapped, |it| &it.lapped_total);
    }

    fn tell_guard(&self, page: &mut Exposition) {
        let tally = self.relay.crowd.tally();
        let help = "Refusals because a rate was used up, by what was asked for.";
        let mut samples = page.counter("chappe_rate_limited_total", help);
        for activity in Activity::ALL {
            let label = format!("activity=\"{}\"", format!("{activity:?}").to_lowercase());
            samples.labelled(&label, tally.refused(activity));
        }
        page.counter("chappe_bans_total", "Times an address was banned.").value(tally.banned());
        page.counter("chappe_connections_refused_total", "Connections that were not let in.")
            .labelled("reason=\"banned\"", tally.shut_out())
            .labelled("reason=\"crowded\"", tally.crowded_out());
        let settings = self.relay.in_force.load();
        let rules = settings.session.event.rules.as_ref();
        let counts = [
            ("trust", rules.and_then(|it| it.trusted.as_ref()).map(|it| it.count())),
            ("nip05", rules.and_then(|it| it.named.as_ref()).map(|it| it.count())),
        ];
        if counts.iter().any(|(_, count)| count.is_some()) {
            let help = "Keys that may publish because of whom others follow or what domains say.";
            let mut keys = page.gauge("chappe_publishing_keys", help);
            for (because, count) in counts {
                if let Some(count) = count {
                    keys.labelled(&format!("because=\"{because}\""), count);
                }
            }
        }
    }

    fn tell_plugin(&self, page: &mut Exposition) {
        let plugin = &*self.plugin;
        let mut verdicts =
            page.counter("chappe_plugin_events_total", "Events that a plugin was to judge.");
        for (verdict, counter) in [
            ("accept", &plugin.accepted_total),
            ("reject", &plugin.rejected_total),
            ("shadow-reject", &plugin.shadow_rejected_total),
            ("unanswered", &plugin.unanswered_total),
        ] {
            verdicts.labelled(&format!("verdict=\"{verdict}\""), counter.total());
        }
        let wait = "Time that an event waits until a process has room for it.";
        page.histogram("chappe_plugin_wait_seconds", wait).magnitudes(
            "",
            Unit::Micros,
            [&plugin.wait_micros].into_iter(),
        );
        page.histogram("chappe_plugin_answer_seconds", "Time from a request to its answer.")
            .magnitudes("", Unit::Micros, [&plugin.answer_micros].into_iter());
        for (name, help, counter) in [
            (
                "chappe_plugin_requests_total",
                "Requests written, repeated ones too.",
                &plugin.requests_total,
            ),
            (
                "chappe_plugin_lines_unread_total",
                "Lines that were no answer to anything.",
                &plugin.lines_unread_total,
            ),
            ("chappe_plugin_starts_total", "Processes started.", &plugin.starts_total),
            ("chappe_plugin_ends_total", "Processes that ended by themselves.", &plugin.ends_total),
            (
                "chappe_plugin_timeouts_total",
                "Processes given up because they did not answer.",
                &plugin.timeouts_total,
            ),
        ] {
            page.counter(name, help).value(counter.total());
        }
    }

    fn tell_store(&self, page: &mut Exposition) {
        let size = match store::size(&self.relay.store) {
            Ok(size) => size,
            Err(error) => return tracing::warn!(%error, "the size of the store cannot be read"),
        };
        page.gauge("chappe_store_events", "Events that are stored.").value(size.events);
        page.counter("chappe_store_seq", "Position of the newest event in commit order.")
            .value(size.last_seq);
        page.gauge("chappe_store_unmerged_events", "Events whose index entries are in memory.")
            .value(size.unmerged);
        page.gauge("chappe_store_dead_events", "Events that are gone but take room yet.")
            .value(size.dead);
        page.gauge("chappe_store_file_bytes", "Size of the files.").value(size.file_bytes);
        page.gauge("chappe_store_used_bytes", "Bytes of the files that are in use.")
            .value(size.used_bytes);
        page.gauge("chappe_store_free_bytes", "Bytes of the files that are used again.")
            .value(size.free_bytes);
        page.gauge("chappe_store_map_bytes", "The most that the files can grow to.")
            .value(size.map_bytes);
        let help = "Bytes of the log that no living event has, which a compaction gives back.";
        page.gauge("chappe_store_dead_bytes", help).value(size.dead_bytes);
    }

    fn tell_care(&self, page: &mut Exposition) {
        let care = &self.relay.caretaking;
        let help = "When the last backup by the clock was taken, in seconds since 1970; 0: none.";
        page.gauge("chappe_backup_timestamp_seconds", help).value(care.backup_at.value());
        page.gauge("chappe_backup_bytes", "How large it is.").value(care.backup_bytes.value());
        page.counter("chappe_backups_failed_total", "Backups by the clock that were not taken.")
            .value(care.backups_failed_total.total());
        let help = "When the store was last checked by the clock, in seconds since 1970; 0: never.";
        page.gauge("chappe_check_timestamp_seconds", help).value(care.check_at.value());
        page.gauge("chappe_check_faults", "What was wrong with the store then.")
            .value(care.check_faults.value());
        page.counter("chappe_checks_failed_total", "Checks by the clock that could not be made.")
            .value(care.checks_failed_total.total());
        let help = "When the store was last compacted while it served, in seconds since 1970.";
        page.gauge("chappe_compact_timestamp_seconds", help).value(care.compact_at.value());
    }

    /// Tells whether all threads answer.
    fn health(&self) -> Response {
        let missing = self.pulse.missing(PATIENCE);
        if missing.is_empty() {
            return Response::text(200, "ok");
        }
        Response::text(503, &format!("no answer from {}", missing.join(", ")))
    }

    /// Tells whether events are taken.
    fn readiness(&self) -> Response {
        if self.pulse.writer.metrics().batches_failed_total.total() > 0 {
            return Response::text(503, "nothing is stored since a batch failed; see the log");
        }
        self.health()
    }
}

impl Site for Report {
    fn respond(&self, request: &RequestHead) -> Response {
        if !matches!(request.method(), "GET" | "HEAD") {
            return Response::text(405, "only GET is answered here");
        }
        match request.path() {
            "/metrics" => Response {
                status: 200,
                headers: vec![("content-type", EXPOSITION_TYPE.to_owned())],
                body: Bytes::from(self.metrics()),
            },
            "/health" => self.health(),
            "/ready" => self.readiness(),
            _ => Response::text(404, "here are /metrics, /health and /ready"),
        }
    }
}

fn tell_process(page: &mut Exposition) {
    let process = process::process_use();
    let ticks = |ticks: u64| seconds(ticks * (1_000_000 / process::TICKS_PER_SEC));
    let all = process.threads.iter().map(|(_, used)| used).sum();
    page.counter("process_cpu_seconds_total", "Processor time of this process.").value(ticks(all));
    let help = "Processor time of the threads that live, by name.";
    let mut samples = page.counter("chappe_thread_cpu_seconds_total", help);
    for (name, used) in &process.threads {
        samples.labelled(&format!("thread=\"{name}\""), ticks(*used));
    }
    page.gauge("process_resident_memory_bytes", "Memory in RAM; the store's pages are in it.")
        .value(process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Address space.").value(process.virtual_bytes);
    page.gauge("process_open_fds", "Open files.").value(process.open_files);
    page.gauge("process_max_fds", "Most files that may be open.")
        .value(sys::open_file_limit().unwrap_or(0));
    page.gauge("process_start_time_seconds", "When it was started, in seconds since 1970.")
        .value(process.started_secs);
}

/// How long a thread may take to answer before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(1);
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
