//! `top`: the status on the whole screen. What is shown is a pure function of a [`Screen`] and a [`View`].

mod draw;
mod screen;

pub use draw::{draw, frame_text};
pub use screen::{Act, Mode, Press, Screen, Sort};

use crate::explain::Explanation;
use crate::status::Status;

/// What there is to show.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last status that could be had. Resources elsewhere that are watched at a member are among its resources.
    pub status: Option<Status>,
    /// Why there is no newer one, and for how many seconds.
    pub trouble: Option<(String, u64)>,
    /// The causes for the chosen resource, if they are asked for.
    pub explanation: Option<Explanation>,
}

#[cfg(test)]
mod tests;
