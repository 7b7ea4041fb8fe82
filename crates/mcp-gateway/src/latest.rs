//! The latest of several values that are sent one after the other.

use parking_lot::Mutex;

/// A value to be sent. A newer one replaces it, and one task sends at a time, so that values cannot overtake each other.
#[derive(Debug)]
pub(crate) struct Latest<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    is_sending: bool,
}

impl<T> Latest<T> {
    /// Takes a value. Whether the caller is the one to send: it has to [take](Self::take) until there is none.
    pub(crate) fn put(&self, value: T) -> bool {
        let mut state = self.0.lock();
        state.value = Some(value);
        !std::mem::replace(&mut state.is_sending, true)
    }

    /// The value to send; `None` if there is none, and the caller of the next [`put`](Self::put) sends.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.0.lock();
        let value = state.value.take();
        state.is_sending = value.is_some();
        value
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            value: None,
            is_sending: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_values_meanwhile_the_last_is_sent_by_the_one_that_sends() {
        let latest = Latest::default();
        assert!(latest.put(0));
        assert_eq!(latest.take(), Some(0));
        for value in 1..1_000 {
            assert!(!latest.put(value), "another sends");
        }
        assert_eq!(latest.take(), Some(999));
        assert_eq!(latest.take(), None);
        assert!(latest.put(7));
        assert_eq!(latest.take(), Some(7));
    }
}
