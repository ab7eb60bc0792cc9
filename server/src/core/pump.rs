//! The loop of a core: take what waits as one batch, stamp it with one time, apply, append; commit while the
//! next batch fills; release what has become durable.

use super::dispatch::BUSY_RETRY_MS;
use super::idle::Idle;
use super::message::{Ask, ConnId, CoreMessage, Frames, Job, Origin};
use super::metrics::Metrics;
use super::space;
use super::state::{CLASSES, Cause, Core, Stalled, State, read_clock};
use crate::replication::{Check, Hub};
use frontrow_engine::Engine;
use frontrow_plant::{Bug, planted};
use frontrow_protocol::{
    Delta, ErrorReply, News, NewsKind, Reply, WireCode, encode_delta, encode_error, encode_news,
    encode_reply, encode_snapshot,
};
use frontrow_shard::{
    Answer, Code, Command, Letter, Millis, Op, Partition, PartitionId, Parts, Push, PushKind, Request,
    RowRef, RowState, UserId,
};
use frontrow_wal::AppendError;
use std::rc::Rc;

/// The most requests applied with one time stamp.
const BATCH: usize = 1024;
/// Timers looked at per turn, so that a million holds due at once do not stop the rest.
const EXPIRY_BUDGET: u32 = 1024;
/// Bytes in the collecting batch from which on no more holds are ended before the next one: a commit takes the
/// longer the larger it is, and whatever else is asked waits for it. With a commit every 300 us that is still two
/// million holds a second.
const EXPIRY_BYTES: usize = 1 << 16;
/// Bytes of a log in memory that are handed over at a time, if a tick does not come before.
const MEMORY_PIECE: usize = 1 << 18;
/// Rows told of at a tick: with claims all over a large venue the rest has its turn at the next ones, so that
/// working out what each row can still give does not cost more than the claims.
/// Each takes about 300 ns, and a claim that comes meanwhile waits for all of them.
const TOLD_PER_TICK: usize = 128;
/// The same for rows that nobody watches, while the core is busy.
const TOLD_WHEN_BUSY: usize = 64;
/// Operations in a turn from which on a core counts as busy.
const BUSY: usize = 64;
/// How many requests ahead the processor is asked for their memory: far enough for a miss to end, near enough
/// for what it brought to be still in the first cache. Measured with the shard's bench.
pub(crate) const INDEX_AHEAD: usize = 16;
const ROW_AHEAD: usize = 8;
/// Waiting parties told their position per queue and second.
const POSITIONS: usize = 10_000;

/// Runs until the core stops.
pub(crate) async fn run<E: Engine>(core: Rc<Core<E>>) {
    let (mut again, mut idle) = (false, Idle::<E>::new(core.shared.busy_poll));
    loop {
        if again {
            // Waiting would not end, for the work is here.
            idle.turn().await;
        } else {
            idle.wait(&core.work).await;
        }
        again = step(&core);
        if core.stopping.get() && !again {
            let state = core.state.borrow();
            let idle = !state.has_work() && state.flying.is_none() && !state.appender.has_pending();
            // What waits for a standby that does not come is not answered: it was not acknowledged.
            if core.shared.is_stuck() || (idle && state.groups.iter().all(super::staging::Group::is_empty)) {
                return;
            }
        }
    }
}

/// One turn. Whether there is more to do at once.
fn step<E: Engine>(core: &Rc<Core<E>>) -> bool {
    let mut state = core.state.borrow_mut();
    let state = &mut *state;
    read_clock();
    release_durable(core, state);
    let now = core.now_ms();
    space::look(core, state);
    if !unstall(core, state) {
        if state.disk_full {
            // Not even the reserve is left.
            space::refuse(core, state, 0);
        }
        commit(core, state, true);
        state.flush_outbound(&core.shared, core.counters());
        return false;
    }
    if state.read_only {
        space::refuse(core, state, space::WANTING);
    }
    let mut applied = 0;
    let mut room = true;
    while room && let Some((from, letter)) = state.letters.pop_front() {
        let op = Op::Deliver { from, seq: letter.seq, mail: letter.mail };
        let cause = Cause::Letter { from, to: letter.to, seq: letter.seq };
        room = apply(core, state, letter.to, now, &op, cause);
        applied += 1;
    }
    while room && let Some((partition, op, reply)) = state.admin.pop_front() {
        room = apply(core, state, partition, now, &op, Cause::Admin(reply));
        applied += 1;
    }
    let tick = std::mem::take(&mut state.tick_due);
    if (tick || state.expiring) && room {
        state.expiring = expire(core, state, now, &mut room, &mut applied);
    }
    if room {
        applied += run_batch(core, state, now, &mut room);
    }
    if tick {
        tell_rows(core, state, applied > BUSY);
    }
    if applied > 0 {
        core.counters().batch.record(applied as u64);
    }
    commit(core, state, tick || state.expiring || !room || core.stopping.get());
    state.flush_outbound(&core.shared, core.counters());
    // While a commit flies the next batch has its share of ended holds already, or this turn had: the commit's end
    // is the next turn.
    room && (state.has_work() || (state.expiring && state.flying.is_none()))
}

/// Applies up to [`BATCH`] requests, the most urgent class first. How many.
fn run_batch<E: Engine>(core: &Core<E>, state: &mut State<E>, now: Millis, room: &mut bool) -> usize {
    let mut done = 0;
    for class in 0..CLASSES {
        // Nothing is queued while operations are applied, so the queue can be out of the state meanwhile.
        let mut queue = std::mem::take(&mut state.jobs[class]);
        let most = queue.len().min(BATCH - done);
        let mut taken = 0;
        for job in queue.iter().take(most.min(ROW_AHEAD)) {
            with_machine(state, job, Partition::prefetch_row);
        }
        while *room && taken < most {
            if let Some(job) = queue.get(taken + INDEX_AHEAD) {
                with_machine(state, job, |machine, command| machine.prefetch_index(job.id, command));
            }
            if let Some(job) = queue.get(taken + ROW_AHEAD) {
                with_machine(state, job, Partition::prefetch_row);
            }
            let job = &queue[taken];
            let partition = job.partition;
            match job.ask {
                Ask::Command(command) => {
                    let op = Op::Request(Request { id: job.id, user: job.user, command });
                    *room = apply(core, state, partition, now, &op, Cause::Job(job));
                }
                Ask::Status(place) => status(core, state, partition, job, place),
            }
            taken += 1;
        }
        queue.drain(..taken);
        state.jobs[class] = queue;
        done += taken;
    }
    done
}

/// Shows a request to the partition that will decide it.
fn with_machine<E: Engine>(state: &State<E>, job: &Job, see: impl FnOnce(&Partition, &Command)) {
    let machine = state.partitions.get(usize::from(job.partition));
    if let (Ask::Command(command), Some(Some(machine))) = (&job.ask, machine) {
        see(machine, command);
    }
}

/// Applies one operation and appends its record. `false` if the log has no room: then nothing more may be
/// applied until it has.
fn apply<E: Engine>(
    core: &Core<E>,
    state: &mut State<E>,
    partition: PartitionId,
    now: Millis,
    op: &Op,
    cause: Cause<&Job>,
) -> bool {
    let Some(Some(machine)) = state.partitions.get_mut(usize::from(partition)) else { return true };
    state.effects.clear();
    let applied = machine.apply(now, op, &mut state.effects);
    let answer = applied.answer;
    if applied.recorded {
        let lsn = machine.lsn();
        let (kind, payload) = state.encoder.encode(op, &answer, &state.effects);
        match state.appender.append(partition, lsn, now, kind, payload) {
            Ok(_) => {}
            Err(error) => {
                no_room(core, &error);
                let (payload, cause) = (payload.to_vec(), cause.owned());
                state.stalled = Some(Stalled { partition, lsn, time_ms: now, kind, payload, answer, cause });
                return false;
            }
        }
    }
    settle(core, state, partition, answer, cause);
    true
}

/// Appends what had found no room. `false` if there still is none.
fn unstall<E: Engine>(core: &Core<E>, state: &mut State<E>) -> bool {
    let Some(stalled) = state.stalled.take() else { return true };
    let Stalled { partition, lsn, time_ms, kind, ref payload, .. } = stalled;
    match state.appender.append(partition, lsn, time_ms, kind, payload) {
        Ok(_) => {
            settle(core, state, partition, stalled.answer, stalled.cause.borrowed());
            true
        }
        Err(error) => {
            no_room(core, &error);
            state.stalled = Some(stalled);
            false
        }
    }
}

fn no_room<E: Engine>(core: &Core<E>, error: &AppendError) {
    match error {
        AppendError::Backlog { .. } | AppendError::NoSegment | AppendError::DiskFull { .. } => {}
        _ => core.shared.fail(core.me, &error.to_string()),
    }
}

/// An operation is in the log: everything it causes waits for it to become durable.
fn settle<E: Engine>(
    core: &Core<E>,
    state: &mut State<E>,
    partition: PartitionId,
    answer: Answer,
    cause: Cause<&Job>,
) {
    match cause {
        Cause::Job(job) if answer.code == Code::Pending => {
            state.deferred.entry(job.id).or_default().push(*job);
        }
        Cause::Job(job) => reply(core, state, partition, job, answer),
        Cause::Letter { from, to, seq } => state.groups[state.filling].received.push((from, to, seq)),
        Cause::Expiry => Metrics::add(&core.counters().expired, 1),
        Cause::Admin(tx) => state.groups[state.filling].admin.push((tx, partition, answer)),
    }
    if !state.effects.answers.is_empty() || !state.effects.pushes.is_empty() {
        tell(core, state, partition);
    }
    while let Some(row) = state.effects.rows.pop() {
        state.touched(row);
    }
    let group = &mut state.groups[state.filling];
    group.letters.extend(state.effects.letters.drain(..).map(|letter| (partition, letter)));
}

/// Stages what an operation has to say to others than who asked for it.
fn tell<E: Engine>(core: &Core<E>, state: &mut State<E>, partition: PartitionId) {
    let mut effects = std::mem::take(&mut state.effects);
    for decided in effects.answers.drain(..) {
        for job in state.deferred.remove(&decided.request).unwrap_or_default() {
            reply(core, state, partition, &job, decided.answer);
        }
    }
    for push in effects.pushes.drain(..) {
        news(core, state, &push);
    }
    state.effects = effects;
}

/// Stages the answer to a request.
fn reply<E: Engine>(core: &Core<E>, state: &mut State<E>, partition: PartitionId, job: &Job, answer: Answer) {
    core.counters().answered(answer.code);
    let machine = state.partitions[usize::from(partition)].as_ref();
    let (mut parts, mut durable) = (Parts::default(), 0);
    if let Some(machine) = machine {
        durable = machine.lsn();
        if answer.parts > 0 {
            parts = match job.ask {
                Ask::Status(place) => machine.offer_parts(place, job.user),
                Ask::Command(_) => machine.parts_of(job.id).unwrap_or_default(),
            };
        }
    }
    let place = job.ask.place();
    if matches!(answer.code, Code::Queued | Code::Left) {
        state.moved.insert(place);
    }
    let reply = Reply { id: job.id, time_ms: core.now_ms(), place, answer, parts, durable };
    state.groups[state.filling].since_ns.push(job.since_ns);
    state.stage_to(core.me, job.origin, true, |out| encode_reply(&reply, out));
}

fn status<E: Engine>(core: &Core<E>, state: &mut State<E>, partition: PartitionId, job: &Job, place: RowRef) {
    let Some(Some(machine)) = state.partitions.get(usize::from(partition)) else { return };
    let answer = machine.status(place, job.user);
    reply(core, state, partition, job, answer);
}

/// Stages news for every connection of a user.
fn news<E: Engine>(core: &Core<E>, state: &mut State<E>, push: &Push) {
    Metrics::add(&core.counters().pushes, 1);
    if !matches!(push.kind, PushKind::Expired) {
        state.moved.insert(push.place);
    }
    let message = News::of(push, core.now_ms());
    send_news(core, state, push.user + u64::from(planted(Bug::NewsToAnother)), &message);
}

fn send_news<E: Engine>(core: &Core<E>, state: &mut State<E>, user: UserId, message: &News) {
    let to: Vec<Origin> = state.users.find(user).to_vec();
    for at in to {
        state.stage_to(core.me, at, false, |out| encode_news(message, out));
    }
}

/// Ends holds that are due, up to the turn's share. Whether more may be.
fn expire<E: Engine>(
    core: &Core<E>,
    state: &mut State<E>,
    now: Millis,
    room: &mut bool,
    applied: &mut usize,
) -> bool {
    let mut budget = EXPIRY_BUDGET;
    // Each turn begins where the last one had to stop, so that no partition waits for the others.
    for _ in 0..state.own.len() {
        let id = state.own[state.expire_next % state.own.len()];
        loop {
            if !*room || budget == 0 || state.appender.pending_bytes() >= EXPIRY_BYTES {
                return true;
            }
            let Some(Some(machine)) = state.partitions.get_mut(usize::from(id)) else { break };
            let Some(op) = machine.next_due(now, &mut budget) else { break };
            *room = apply(core, state, id, now, &op, Cause::Expiry);
            *applied += 1;
        }
        if budget == 0 {
            return true;
        }
        state.expire_next = (state.expire_next + 1) % state.own.len();
    }
    false
}

/// Hands the collecting group to the log, if no commit is in flight. What promises nothing (durability
/// `memory`) is handed over in larger pieces, unless `at_once`: each piece wakes a thread.
fn commit<E: Engine>(core: &Core<E>, state: &mut State<E>, at_once: bool) {
    let appended = state.appender.position();
    core.counters().appended.store(appended, std::sync::atomic::Ordering::Relaxed);
    if state.flying.is_some() {
        return;
    }
    if state.memory_only && !at_once && state.appender.unsynced_bytes() < MEMORY_PIECE {
        return let_go(core, state);
    }
    if begin(core, state) {
        if state.memory_only {
            state.flying = None;
            release(core, state, state.filling ^ 1);
        }
    // In memory the log may still be taking the last batch back; it wakes the pump when it has. Else there
    // is nothing to write: what was answered rests on what is durable already.
    } else if state.memory_only || !state.appender.has_pending() {
        let_go(core, state);
    }
}

/// Begins a commit of the collecting group, if the log can take it; the other group collects from then on,
/// and must have been released, or be so before anything else is staged.
fn begin<E: Engine>(core: &Core<E>, state: &mut State<E>) -> bool {
    let link = core.shared.hub.as_ref().map(|hub| hub.link(core.me));
    link.inspect(|link| link.stage(&state.appender));
    let committed = state.appender.commit();
    link.inspect(|link| link.staged(matches!(committed, Ok(true))));
    match committed {
        Ok(true) => {
            core.log_work.wake();
            state.groups[state.filling].begun_ns = read_clock();
            state.flying = Some(state.appender.position());
            state.filling ^= 1;
            let flying = state.filling ^ 1;
            if planted(Bug::AnswerBeforeCommit) {
                release(core, state, flying);
            }
            if planted(Bug::LettersBeforeCommit) {
                let mut letters = std::mem::take(&mut state.groups[flying].letters);
                mail(core, state, &mut letters, &mut Vec::new());
            }
            true
        }
        Ok(false) => false,
        Err(error) => core.shared.fail(core.me, &error.to_string()),
    }
}

/// Lets the collecting group go without a commit.
fn let_go<E: Engine>(core: &Core<E>, state: &mut State<E>) {
    let index = state.filling;
    if !state.groups[index].is_empty() {
        state.groups[index].begun_ns = 0;
        state.filling ^= 1;
        release(core, state, index);
    }
}

fn release_durable<E: Engine>(core: &Rc<Core<E>>, state: &mut State<E>) {
    if let Some(fault) = state.appender.fault() {
        core.shared.fail(core.me, &fault.to_string());
    }
    let durable = state.appender.durable();
    core.counters().durable.store(durable, std::sync::atomic::Ordering::Relaxed);
    let safe = core.shared.hub.as_ref().map_or(durable, |hub| safe(core, hub, state.flying, durable));
    if state.flying.is_some_and(|position| safe >= position) {
        state.flying = None;
        let done = state.filling ^ 1;
        // First the next commit: the disk works while these answers leave.
        if state.appender.has_pending() {
            begin(core, state);
        }
        if planted(Bug::GroupsSwapped) {
            release(core, state, done ^ 1);
        }
        release(core, state, done);
    }
}

/// Up to where answers may leave: durable here and, if they wait for that, at the standby.
fn safe<E: Engine>(core: &Core<E>, hub: &Hub, flying: Option<u64>, durable: u64) -> u64 {
    let link = hub.link(core.me);
    link.durable_at(durable);
    if !hub.waits() || planted(Bug::StandbyNotAwaited) {
        return durable;
    }
    let safe = durable.min(link.backup());
    // Only the standby is waited for: new requests are refused if that takes too long.
    let waits = flying.is_some_and(|position| durable >= position && safe < position);
    hub.waiting(core.me, if waits { read_clock() } else { 0 });
    safe
}

/// Lets a group go: answers, news, messages. Stages nothing, for it may be the one that collects.
fn release<E: Engine>(core: &Core<E>, state: &mut State<E>, index: usize) {
    let now = read_clock();
    if core.shared.hub.as_ref().is_some_and(|hub| hub.fence().is_over(now)) {
        // After a pause, for example: somebody else may be primary since.
        crate::cluster::lost("its lease was not renewed in time");
    }
    let mut group = std::mem::take(&mut state.groups[index]);
    if group.begun_ns > 0 {
        core.counters().commit_ns.record(now - group.begun_ns);
    }
    for since in group.since_ns.drain(..) {
        core.counters().answer_ns.record(now.saturating_sub(since));
    }
    for id in group.conns.drain(..) {
        if let Some(conn) = state.conns.get(id) {
            conn.release(index);
        }
    }
    for (to, frames) in group.frames.iter_mut().enumerate() {
        if !frames.heads.is_empty() {
            let frames = std::mem::take(frames);
            state.send(&core.shared, to as u16, CoreMessage::Frames(frames));
        }
    }
    for (tx, partition, answer) in group.admin.drain(..) {
        let _ = tx.try_send((partition, answer));
    }
    mail(core, state, &mut group.letters, &mut group.received);
    publish(core, state, &mut group.rows);
    state.groups[index] = group;
}

/// Delivers messages between partitions, and the word that they have arrived.
fn mail<E: Engine>(
    core: &Core<E>,
    state: &mut State<E>,
    letters: &mut Vec<(PartitionId, Letter)>,
    received: &mut Vec<(PartitionId, PartitionId, u64)>,
) {
    let owners = &core.shared.owners;
    let cores = core.shared.cores.len();
    if !letters.is_empty() {
        let mut out: Vec<Vec<(PartitionId, Letter)>> = vec![Vec::new(); cores];
        for (from, letter) in letters.drain(..) {
            out[usize::from(owners[usize::from(letter.to)])].push((from, letter));
        }
        for (to, letters) in out.into_iter().enumerate().filter(|(_, letters)| !letters.is_empty()) {
            if to == usize::from(core.me) {
                state.letters.extend(letters);
                core.work.wake();
            } else {
                state.send(&core.shared, to as u16, CoreMessage::Letters(letters));
            }
        }
    }
    if !received.is_empty() {
        let mut out: Vec<Vec<(PartitionId, PartitionId, u64)>> = vec![Vec::new(); cores];
        for item in received.drain(..) {
            out[usize::from(owners[usize::from(item.0)])].push(item);
        }
        for (to, items) in out.into_iter().enumerate().filter(|(_, items)| !items.is_empty()) {
            if to == usize::from(core.me) {
                state.confirmed(&items);
            } else {
                state.send(&core.shared, to as u16, CoreMessage::Confirmed(items));
            }
        }
    }
}

impl<E: Engine> State<E> {
    pub(crate) fn confirmed(&mut self, items: &[(PartitionId, PartitionId, u64)]) {
        for &(from, to, seq) in items {
            if let Some(Some(partition)) = self.partitions.get_mut(usize::from(from)) {
                partition.confirm(to, seq);
            }
        }
    }
}

/// Tells hints and watchers of rows that changed since the last tick: what somebody watches first, the rest
/// as fast as the core has time for it.
fn tell_rows<E: Engine>(core: &Core<E>, state: &mut State<E>, busy: bool) {
    let mut told = 0;
    while told < TOLD_PER_TICK
        && let Some(row) = state.unseen.pop_front()
    {
        if state.changed.unmark(row) {
            tell_row(core, state, row);
            told += 1;
        }
    }
    for _ in 0..if busy { TOLD_WHEN_BUSY } else { TOLD_PER_TICK } {
        let Some(row) = state.changed.take() else { break };
        tell_row(core, state, row);
    }
}

/// Works out what a row can still give, for hints and watchers.
fn tell_row<E: Engine>(core: &Core<E>, state: &mut State<E>, row: RowRef) {
    let owner = usize::from(core.shared.partition_of(row));
    let Some(Some(machine)) = state.partitions.get(owner) else { return };
    let Some(supply) = machine.supply(row) else { return };
    if let Some(hints) = state.hints.get(&row.event) {
        hints.set(row, &supply);
    }
    if state.watches.is_watched(row)
        && let Some(seats) = machine.row_state(row)
    {
        state.groups[state.filling].rows.push((row, seats));
    }
}

/// Sends durable row states to the cores that have watchers of them.
fn publish<E: Engine>(core: &Core<E>, state: &mut State<E>, rows: &mut Vec<(RowRef, RowState)>) {
    if rows.is_empty() {
        return;
    }
    for to in 0..core.shared.cores.len() as u16 {
        let wanted = |row: &RowRef| {
            state.watches.subscribers.get(&row.section_of()).is_some_and(|cores| cores.contains(&to))
        };
        let some: Vec<(RowRef, RowState)> = rows.iter().copied().filter(|(row, _)| wanted(row)).collect();
        if some.is_empty() {
            continue;
        }
        if to == core.me {
            rows_arrived(core, state, &some);
        } else {
            state.send(&core.shared, to, CoreMessage::Rows(some));
        }
    }
    rows.clear();
}

/// Rows of watched sections have changed: numbers the changes and sends them to this core's watchers.
pub(crate) fn rows_arrived<E: Engine>(core: &Core<E>, state: &mut State<E>, rows: &[(RowRef, RowState)]) {
    for (row, seats) in rows {
        let section = row.section_of();
        let Some(watched) = state.watches.sections.get_mut(&section) else { continue };
        let was_complete = watched.is_complete();
        let change = watched.update(row.row, seats);
        if !was_complete && watched.is_complete() {
            let fresh = std::mem::take(&mut watched.fresh);
            let max = core.shared.limits.frame as u32;
            for (id, request) in fresh {
                let Some(conn) = state.conns.get(id) else { continue };
                let rows = watched.rows.iter().map(|(&row, &seats)| (row, seats));
                conn.say(|out| encode_snapshot(request, section, rows, max, out));
                watched.watchers.push(id);
            }
        } else if was_complete && let Some(state_now) = change {
            let delta = Delta { row: *row, state: state_now };
            let ids: &[ConnId] = &watched.watchers;
            Metrics::add(&core.counters().deltas, ids.len() as u64);
            for conn in ids.iter().filter_map(|id| state.conns.get(*id)) {
                conn.say(|out| encode_delta(&delta, out));
            }
        }
    }
}

/// A core has, or no longer has, watchers of a section: it gets every row owned here once, then the changes.
pub(crate) fn subscribed<E: Engine>(state: &mut State<E>, section: RowRef, subscriber: u16, on: bool) {
    let cores = state.watches.subscribers.entry(section).or_default();
    cores.retain(|core| *core != subscriber);
    if !on {
        if cores.is_empty() {
            state.watches.subscribers.remove(&section);
        }
        return;
    }
    cores.push(subscriber);
    let rows = state.own_rows(section);
    // What is still to be told of them is urgent from now on.
    state.unseen.extend(rows.iter().map(|(row, _)| *row));
    state.groups[state.filling].rows.extend(rows);
}

impl<E: Engine> State<E> {
    /// The rows of a section that this core owns.
    pub(crate) fn own_rows(&self, section: RowRef) -> Vec<(RowRef, RowState)> {
        let count = self.rows_of(section).unwrap_or(0);
        let rows = (0..count).map(|row| RowRef { row, ..section });
        rows.filter_map(|row| {
            let own = |&id: &PartitionId| self.partitions[usize::from(id)].as_ref()?.row_state(row);
            self.own.iter().find_map(own).map(|seats| (row, seats))
        })
        .collect()
    }
}

/// Frames from another core for connections of this one.
pub(crate) fn frames_arrived<E: Engine>(state: &State<E>, frames: &Frames) {
    let mut at = 0;
    for &(id, len, ends_request) in &frames.heads {
        let bytes = &frames.bytes[at..at + len as usize];
        if let Some(conn) = state.conns.get(id) {
            conn.deliver(bytes, ends_request);
        }
        at += len as usize;
    }
}

/// Requests from another core for places owned here.
pub(crate) fn jobs_arrived<E: Engine>(core: &Core<E>, state: &mut State<E>, jobs: Vec<Job>) {
    Metrics::add(&core.counters().hops_in, jobs.len() as u64);
    for job in jobs {
        if !state.enqueue(job) {
            Metrics::add(&core.counters().busy, 1);
            refuse(core, state, &job, WireCode::Busy, BUSY_RETRY_MS);
        }
    }
}

/// Stages a refusal of the server's own: nothing was decided.
pub(crate) fn refuse<E: Engine>(
    core: &Core<E>,
    state: &mut State<E>,
    job: &Job,
    code: WireCode,
    retry_after_ms: u32,
) {
    let error = ErrorReply { retry_after_ms, ..ErrorReply::of(job.id, code) };
    state.stage_to(core.me, job.origin, true, |out| encode_error(&error, out));
}

/// Has the state of one partition compared with the standby's, if it is time.
fn compare<E: Engine>(core: &Core<E>, state: &mut State<E>) {
    let Some(hub) = &core.shared.hub else { return };
    let every = hub.check_every().as_secs();
    state.checked += 1;
    if every == 0 || state.own.is_empty() || !state.checked.is_multiple_of(every) {
        return;
    }
    let id = state.own[(state.checked / every) as usize % state.own.len()];
    if let Some(Some(partition)) = state.partitions.get(usize::from(id)) {
        // Nothing that follows is in the log yet, so that the standby hears of this first.
        let check = || Check { partition: id, lsn: partition.lsn(), hash: partition.state_hash() };
        hub.link(core.me).check(check);
    }
}

/// Once a second: gauges, and every waiting user's position in the queues that moved.
pub(crate) fn every_second<E: Engine>(core: &Rc<Core<E>>) {
    let mut state = core.state.borrow_mut();
    let state = &mut *state;
    let own = || state.own.iter().filter_map(|&id| state.partitions[usize::from(id)].as_ref());
    let (waiting, holds) = (own().map(|p| p.waiting() as u64).sum(), own().map(Partition::holds).sum());
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    core.counters().waiting.store(waiting, relaxed);
    core.counters().holds.store(holds, relaxed);
    compare(core, state);
    space::try_again(state);
    let moved = std::mem::take(&mut state.moved);
    let time_ms = core.now_ms();
    for place in moved {
        let partition = core.shared.partition_of(place);
        let Some(Some(machine)) = state.partitions.get(usize::from(partition)) else { continue };
        let waiting: Vec<UserId> = machine.waiting_at(place).take(POSITIONS).collect();
        for (i, user) in waiting.into_iter().enumerate() {
            let answer = Answer { slot: i as u32 + 1, ..Answer::plain(Code::Queued) };
            let message = News { place, time_ms, kind: NewsKind::Position, answer, parts: Parts::default() };
            send_news(core, state, user, &message);
        }
    }
}
