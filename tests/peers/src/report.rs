//! Rounds of one quantity, interleaved, and the table of medians with ratios to a baseline.

use std::collections::BTreeMap;
use std::time::Instant;

/// Operations per second since `start`.
pub fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

/// The smallest, median and largest of some numbers.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

/// One quantity, measured in turn for several subjects.
pub struct Rounds {
    what: String,
    baseline: String,
    order: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Rounds {
    pub fn new(what: &str, baseline: &str) -> Self {
        Self { what: what.to_owned(), baseline: baseline.to_owned(), order: Vec::new(), values: BTreeMap::new() }
    }

    pub fn add(&mut self, subject: &str, value: f64) {
        if !self.values.contains_key(subject) {
            self.order.push(subject.to_owned());
        }
        self.values.entry(subject.to_owned()).or_default().push(value);
    }

    /// Prints median, smallest, largest, and the ratio of medians to the baseline's.
    pub fn print(&self) {
        let base = self.values.get(&self.baseline).map(|values| spread(values).1);
        println!("\n{} (median, smallest, largest, ratio to '{}')", self.what, self.baseline);
        for subject in &self.order {
            let (least, median, most) = spread(&self.values[subject]);
            let ratio = base.map_or_else(|| "-".to_owned(), |base| format!("{:.2}", median / base));
            println!("  {subject:<44} {median:>14.3} {least:>14.3} {most:>14.3} {ratio:>8}");
        }
    }
}

/// Resident and peak memory of this process in MiB.
pub fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (field("VmRSS"), field("VmHWM"))
}
