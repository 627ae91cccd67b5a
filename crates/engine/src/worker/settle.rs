//! What a turn has set going is worked off: news of shards and homes, completed I/O, memory that came back, answers.

use iscsi_proto::session::TaskId;
use scsi::lu::{ActionResult, TaskKey};

use super::control::Control;
use super::cx::{News, Owner, from_control_key, from_task_key, from_token, is_pin_key};
use super::task::State;
use super::{Link, Worker, ending, step};
use crate::slots::Key;

/// Tasks waiting for memory that are tried again in one turn.
const STARVING_PER_TURN: usize = 16;

impl Worker {
    /// Works until nothing is left to do without waiting.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(message) = self.cx.local.pop_front() {
                self.message(message);
            } else if let Some((key, news)) = self.cx.news.pop_front() {
                self.news(key, news);
            } else if let Some(done) = self.cx.done.pop_front() {
                self.store_done(done);
            } else if let Some((link, task)) = self.cx.drained.pop_front() {
                self.drained(link, task);
            } else if let Some(news) = self.cx.link_news.pop() {
                self.link_news(news);
            } else if let Some(key) = self.cx.ended.pop() {
                self.ended(key);
            } else if !self.submit_deferred() {
                break;
            }
        }
        self.feed();
        if !self.cx.local.is_empty() || !self.cx.news.is_empty() || !self.cx.done.is_empty() {
            self.settle();
        }
    }

    pub(super) fn store_done(&mut self, done: backstores::IoDone) {
        let (_, op_key) = from_token(done.token);
        let Some(op) = self.cx.ops.find(op_key).copied() else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        let Owner::Task { link, task, .. } = op.owner else {
            cx.ops.remove(op_key);
            return units.own_io_done(op.unit, done, cx);
        };
        match links.find_mut(link) {
            Some(Link::Session(link)) => link.handle_store_done(task, done, units, cx),
            _ => {
                cx.ops.remove(op_key);
            }
        }
    }

    pub(super) fn news(&mut self, key: TaskKey, news: News) {
        if let Some(control) = from_control_key(key) {
            return self.control_news(control, news);
        }
        if is_pin_key(key) {
            return;
        }
        let (index, _) = from_task_key(key);
        let Some(link_key) = self.links.key_at(index) else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(link_key) else {
            return;
        };
        let Some(id) = link.task_of(key) else { return };
        match news {
            News::Abort(_) if link.task(id).is_some_and(|t| t.key != key) => {
                link.abort_part(id, units, cx);
            }
            News::Abort(how) => link.abort_for_another(id, how, units, cx),
            // What is for the command while a part is under way has no meaning.
            _ if link
                .task(id)
                .is_none_or(|t| t.aborting || t.part_key().is_some_and(|part| part != key)) => {}
            news if link.is_at_its_end(id) => link.go_on_ending(id, &news, units, cx),
            News::Wake => link.go_on(id, step::Event::Lifted, units, cx),
            News::Granted => link.go_on(id, step::Event::Granted, units, cx),
            News::Completed(ActionResult::Done) => {
                link.go_on(id, step::Event::Granted, units, cx);
            }
            News::Completed(ActionResult::Refused(refusal)) => {
                link.go_on(id, step::Event::Refused(refusal), units, cx);
            }
        }
    }

    pub(super) fn control_news(&mut self, key: Key, news: News) {
        if !matches!(news, News::Completed(_)) {
            return;
        }
        let Some(control) = self.cx.controls.remove(key) else {
            return;
        };
        let Self {
            links, units, cx, ..
        } = self;
        let link = ending::link_of(control).and_then(|link| links.find_mut(link));
        let Some(Link::Session(link)) = link else {
            return;
        };
        match control {
            Control::Tmf { handle, .. } => link.home_answered(handle, units, cx),
            Control::Detach { .. } => link.detached(cx),
            Control::Unmap { unit, .. } => link.unmapped(unit, cx),
        }
    }

    /// A window has been gathered: the next read of its task may start.
    pub(super) fn drained(&mut self, key: Key, id: TaskId) {
        self.run_parked(key, id, |state| matches!(state, State::Undrained(_)));
    }

    /// Runs the step that a task was parked with, if it still is, in a state of this kind.
    pub(super) fn run_parked(&mut self, key: Key, id: TaskId, kind: impl Fn(&State) -> bool) {
        let Self {
            links, units, cx, ..
        } = self;
        let Some(Link::Session(link)) = links.find_mut(key) else {
            return;
        };
        let Some(task) = link.task(id) else { return };
        if task.aborting || !kind(&task.state) {
            return;
        }
        if let Some(step) = task.take_parked() {
            link.run(id, step, units, cx);
        }
    }

    pub(super) fn ended(&mut self, key: Key) {
        let Some(Link::Session(link)) = self.links.remove(key) else {
            return;
        };
        self.sessions.remove(&link.id);
        if let Some(nexus) = &link.discovers {
            self.cx.shared.discoveries.leave(nexus, link.id);
        }
        if let Some(observer) = &self.cx.shared.config.observer {
            observer.session_ended(link.record.info(self.cx.now), link.end_reason);
        }
        self.cx.counters.sessions.subtract(1);
        self.session_over(link.group(), link.id, self.cx.id);
    }

    /// Memory may have come back: tasks that wait for it are tried in their order.
    pub(super) fn feed(&mut self) {
        for _ in 0..self.cx.starving.len().min(STARVING_PER_TURN) {
            let Some((key, id)) = self.cx.starving.pop_front() else {
                break;
            };
            self.run_parked(key, id, |state| matches!(state, State::Starving(_)));
        }
    }

    /// Long commands go on after everybody else has had a turn.
    pub(super) fn go_on_yielded(&mut self) {
        for _ in 0..self.cx.yielded.len() {
            let Some((key, id)) = self.cx.yielded.pop_front() else {
                break;
            };
            self.run_parked(key, id, |state| matches!(state, State::Yielded(_)));
        }
    }

    /// Filters' requests whose time has come. Returns whether there was one.
    pub(super) fn submit_deferred(&mut self) -> bool {
        let now = self.cx.now;
        let Some(at) = self.cx.deferred.iter().position(|(due, ..)| *due <= now) else {
            return false;
        };
        let (_, index, request) = self.cx.deferred.swap_remove(at);
        if let Some(unit) = self.units.find(index) {
            unit.store.submit(request, &mut self.cx.port(index));
        }
        true
    }

    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.cx.dirty);
        for key in dirty.drain(..) {
            let Self {
                links, units, cx, ..
            } = self;
            if let Some(Link::Session(link)) = links.find_mut(key) {
                link.flush(units, cx);
                link.look_at_leaving(units, cx);
            }
        }
        // Flushing may have marked others; they keep their place for the next turn.
        dirty.append(&mut self.cx.dirty);
        self.cx.dirty = dirty;
        // What gathering has set free goes on within this turn.
        let cx = &self.cx;
        if !cx.drained.is_empty() || !cx.ended.is_empty() || !cx.link_news.is_empty() {
            self.settle();
        }
    }
}
