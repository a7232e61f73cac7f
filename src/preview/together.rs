//! Several answers as one: of services that run together, and of hosts that lead to them.
//!
//! Pure. Refuses to call several whole of which one is not, and to be done with several of which one is
//! left.

use super::host::Host;
use super::observed::{Health, Seen};

impl Health {
    /// How several are doing that are wanted together: as the one for which most has to be done, and of
    /// equals the first.
    pub fn together(all: impl IntoIterator<Item = Self>) -> Self {
        let urgency = |it: &Self| match it {
            Self::Ready => 0,
            Self::Progressing(_) => 1,
            Self::Failing { .. } => 2,
            Self::Dead(_) => 3,
        };
        all.into_iter()
            .reduce(|a, b| if urgency(&b) > urgency(&a) { b } else { a })
            .unwrap_or(Self::Ready)
    }

    /// The same, in other words.
    pub fn told(self, tell: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Ready => Self::Ready,
            Self::Progressing(why) => Self::Progressing(tell(&why)),
            Self::Failing { why, log } => Self::Failing { why: tell(&why), log },
            Self::Dead(why) => Self::Dead(tell(&why)),
        }
    }
}

/// The records of a preview's hosts as one. While it is wanted (`Up`), there is none as long as one of
/// these `wanted` hosts has none; on the way down, it is there as long as one is.
pub fn records(records: &[(Host, Seen<()>)], wanted: Option<&[Host]>) -> Seen<()> {
    let urgency = |seen: &Seen<()>| match (seen, wanted.is_some()) {
        (Seen::Foreign(_), true) => 5,
        (Seen::Unknown(_), true) => 4,
        (Seen::Leaving(_), true) => 3,
        (Seen::Absent, true) => 2,
        (Seen::Present(()), true) => 1,
        (Seen::Present(()), false) => 5,
        (Seen::Leaving(_), false) => 4,
        (Seen::Unknown(_), false) => 3,
        (Seen::Foreign(_), false) => 2,
        (Seen::Absent, false) => 1,
    };
    let asked = records.iter().filter(|(host, _)| wanted.is_none_or(|all| all.contains(host)));
    let most = asked.reduce(|a, b| if urgency(&b.1) > urgency(&a.1) { b } else { a });
    let Some((host, seen)) = most else { return Seen::Absent };
    let tell = |why: &String| match &host.component {
        Some(component) => format!("{component}: {why}"),
        None => why.clone(),
    };
    match seen {
        Seen::Leaving(why) => Seen::Leaving(tell(why)),
        Seen::Foreign(whose) => Seen::Foreign(tell(whose)),
        Seen::Unknown(why) => Seen::Unknown(tell(why)),
        other => other.clone(),
    }
}
