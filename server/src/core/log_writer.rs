//! Carries the log's writes out on the core's own ring, one at a time, so that a commit wakes no other
//! thread. What to write, and what a failure means, is the log's business; who asked for it, the pump's.

use super::state::Core;
use frontrow_engine::Engine;
use frontrow_wal::Write;
use std::io;
use std::rc::Rc;

/// Runs for as long as the core. Woken when a commit has begun, and when a segment has become ready.
pub(crate) async fn run<E: Engine>(core: Rc<Core<E>>) {
    let mut file = None;
    loop {
        core.log_work.wait().await;
        loop {
            let next = core.state.borrow_mut().appender.next_write();
            let Some(write) = next else { break };
            let (result, buffer) = carry_out::<E>(&mut file, write).await;
            core.state.borrow_mut().appender.written(buffer, result);
            core.work.wake();
        }
    }
}

async fn carry_out<E: Engine>(file: &mut Option<E::LogFile>, write: Write) -> (io::Result<()>, Vec<u8>) {
    if let Some(next) = write.file {
        match E::log_file(next) {
            Ok(next) => *file = Some(next),
            Err(error) => return (Err(error), write.buffer),
        }
    }
    let Some(file) = file else {
        // The log sends the file along with the first write into it.
        return (Err(io::ErrorKind::NotFound.into()), write.buffer);
    };
    E::write_all_at(file, write.buffer, write.range, write.offset).await
}
