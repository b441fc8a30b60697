//! SIGTERM and SIGINT while a token is open: the module is finalized before the process ends.
//!
//! A call into a module cannot be taken back, and a process that dies in one, or without C_Finalize, leaves its session
//! to the token: network HSMs count those. So the first signal is noted, and the next step that needs the token ends the
//! command with all that it holds; a second one ends the process at once.

use crate::key::release::Stop;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use std::io::{self, Write as _};

/// Notes the signals from now on.
///
/// # Errors
///
/// What the kernel says if there can be no handler or thread.
pub(super) fn watch() -> io::Result<Stop> {
    let stop = Stop::default();
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    // Whoever started the command to run on behind a terminal has had them ignored, and that stays so (signal(7)).
    let wanted = [SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    let noted = stop.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if noted.is_told() {
                let _ = emulate_default_handler(signal);
            }
            noted.tell(signal);
            // A closed stderr is no reason to go on.
            let _ =
                writeln!(io::stderr(), "ending when the token has answered; a second signal ends at once");
        }
    })?;
    Ok(stop)
}

/// Ends the process as the signal would have, now that everything is in order.
pub(super) fn end_by(signal: i32) {
    let _ = emulate_default_handler(signal);
}

/// The signals that this process ignores, a bit each (proc_pid_status(5)).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_kernels_mask() {
        assert_eq!(ignored("Name:\thsmsign\nSigBlk:\t0000000000000004\nSigIgn:\t0000000000001002\n"), 0x1002);
        assert_eq!(ignored(""), 0);
    }
}
