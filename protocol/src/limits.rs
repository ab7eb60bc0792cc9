//! Bounds that both ends know before they have spoken.

/// Longest body a server takes unless it is configured otherwise, in bytes. The welcome says the real one.
pub const DEFAULT_MAX_FRAME: u32 = 64 * 1024;
/// The smallest value that a server's own limit on a body may have: a hello with the longest token fits.
pub const MIN_MAX_FRAME: u32 = 8 * 1024;
/// Most frames in one batch.
pub const MAX_BATCH: u16 = 512;
/// Longest connection token (a JWT), in bytes.
pub const MAX_TOKEN: usize = 4096;
/// Longest message text in an error or a goodbye, in bytes of UTF-8.
pub const MAX_MESSAGE: usize = 512;
/// Most cores a topology can name.
pub const MAX_CORES: u16 = 1024;

/// The longest frame that may stand in a batch: one that shows a fence.
const LONGEST_REQUEST: usize = 72;

const _: () = assert!(MAX_BATCH as usize * LONGEST_REQUEST + 8 <= DEFAULT_MAX_FRAME as usize);
const _: () = assert!(MAX_TOKEN + 8 <= MIN_MAX_FRAME as usize);
const _: () = assert!(MIN_MAX_FRAME <= DEFAULT_MAX_FRAME);

/// What a server holds one connection to; part of the welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Longest body of a frame, or longest text of a JSON message, in bytes.
    pub max_frame: u32,
    /// Most requests sent and not yet answered.
    pub max_in_flight: u32,
    /// How many requests each partition remembers, for [`frontrow_shard::Code::TooOld`].
    pub remembered_ids: u32,
    /// Most frames in one batch.
    pub max_batch: u16,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_in_flight: 1024,
            remembered_ids: 1 << 20,
            max_batch: MAX_BATCH,
        }
    }
}
