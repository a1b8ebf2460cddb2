//! Runs of many inputs against one target.

use crate::mutate::Mutator;
use crate::target::Target;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time that one input may take: far more than any needs, far less than a hang.
const SLOW: Duration = Duration::from_secs(5);

/// An input that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The input.
    pub input: Vec<u8>,
    /// What happened.
    pub reason: String,
}

/// What a campaign did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Inputs that were run.
    pub execs: u64,
    /// Of them accepted by the decoder.
    pub accepted: u64,
    /// The most memory that one of them took, bytes.
    pub peak: usize,
    /// The first input that broke a promise; the campaign ended there.
    pub crash: Option<Crash>,
}

/// How long a campaign lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// So many mutated inputs.
    Execs(u64),
    /// So long.
    Time(Duration),
}

/// Runs `work`; also the most bytes that were set aside meanwhile beyond what was before. Only one at a time is measured.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    crate::MEMORY.reset_peak_usage();
    let before = crate::MEMORY.current_usage();
    let done = work();
    (done, crate::MEMORY.peak_usage().saturating_sub(before))
}

/// Runs one input: whether it was accepted, and the memory that it took.
///
/// # Errors
/// What promise was broken.
pub fn observe(target: &Target, input: &[u8]) -> Result<(bool, usize), String> {
    let began = Instant::now();
    let (outcome, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let accepted = outcome.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panicked: {}", text.unwrap_or("without a reason"))
    })?;
    let most = target.room + target.per_byte * input.len();
    if peak > most {
        return Err(format!(
            "{} bytes of input took {peak} bytes of memory, at most {most} are allowed",
            input.len()
        ));
    }
    if began.elapsed() > SLOW {
        return Err(format!(
            "{} bytes of input took {:?}",
            input.len(),
            began.elapsed()
        ));
    }
    Ok((accepted, peak))
}

impl Campaign {
    /// Runs the corpus as it is, then mutations of it, until the end or the first broken promise.
    #[must_use]
    pub fn run(self, target: &Target, corpus: &[Vec<u8>], seed: u64) -> Tally {
        let began = Instant::now();
        let mut tally = Tally::default();
        let mut mutator = Mutator::new(seed, corpus);
        let mut plain = corpus.iter();
        let mut mutated = 0;
        loop {
            let input = match plain.next() {
                Some(input) => input.clone(),
                None => {
                    let over = match self {
                        Self::Execs(most) => mutated >= most,
                        Self::Time(most) => began.elapsed() >= most,
                    };
                    if over {
                        return tally;
                    }
                    mutated += 1;
                    mutator.next_input()
                }
            };
            tally.execs += 1;
            match observe(target, &input) {
                Ok((accepted, peak)) => {
                    tally.accepted += u64::from(accepted);
                    tally.peak = tally.peak.max(peak);
                }
                Err(reason) => {
                    tally.crash = Some(Crash { input, reason });
                    return tally;
                }
            }
        }
    }
}
