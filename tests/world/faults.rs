//! Faults that a test asks for, consulted by every call of every fake.
//!
//! Counts calls, so that a test can say "the third call of this kind" and so that it can read
//! afterwards what was called. Refuses to be random: a test that wants chance draws it itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mayfly::fault::Fault;

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The call fails and nothing happened.
    FailBefore,
    /// The call is refused, until a person changes something.
    Refuse,
    /// Everything happened, and the answer is lost.
    FailAfter,
    /// Everything happened twice.
    Repeat,
}

#[derive(Default)]
struct Inner {
    calls: Vec<String>,
    planned: HashMap<(String, usize), Mode>,
    always: HashMap<String, Mode>,
}

/// The faults of one world; clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

impl Faults {
    /// The `nth` call (from 1) of this name goes wrong in this way.
    pub fn plan(&self, call: &str, nth: usize, mode: Mode) {
        self.0.lock().unwrap().planned.insert((call.to_owned(), nth), mode);
    }

    /// Every call of this name goes wrong in this way, until [`Faults::heal`].
    pub fn always(&self, call: &str, mode: Mode) {
        self.0.lock().unwrap().always.insert(call.to_owned(), mode);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.planned.clear();
        inner.always.clear();
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    /// Runs an effect under the fault that is planned for this call, if any.
    pub fn run<T>(
        &self,
        call: &str,
        mut effect: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mode = {
            let mut inner = self.0.lock().unwrap();
            inner.calls.push(call.to_owned());
            let nth = inner.calls.iter().filter(|name| *name == call).count();
            inner.planned.get(&(call.to_owned(), nth)).or_else(|| inner.always.get(call)).copied()
        };
        let fail = |when| Err(Fault::transient(call, format!("told to fail {when}")));
        match mode {
            None => effect(),
            Some(Mode::FailBefore) => fail("before"),
            Some(Mode::Refuse) => Err(Fault::permanent(call, "refused; change the configuration")),
            Some(Mode::FailAfter) => effect().and_then(|_| fail("after")),
            Some(Mode::Repeat) => effect().and_then(|_| effect()),
        }
    }
}
