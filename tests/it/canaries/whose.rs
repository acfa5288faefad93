//! Canaries: texts that say themselves whose they are, and who may hear them.
//!
//! A text is `cnry-<organisation><person>-<field>-x`, wherever one can be put; what cannot look like that (an id, a
//! number, a key) is watched as it is. Must never take silence for safety: [`Flock::heard`] tells what was in play. To add
//! a place where they may be heard: an [`Audience`], and its arm in [`Audience::may_hear`].

use std::collections::{BTreeMap, BTreeSet};

use super::{holds, unfolded};

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The organisation's, for its callers only.
    Admins(char),
    /// The organisation's, for its people too.
    Organisation(char),
    /// A person's of this organisation.
    Person(char, u8),
}

impl Owner {
    fn organisation(self) -> char {
        match self {
            Self::Admins(name) | Self::Organisation(name) | Self::Person(name, _) => name,
        }
    }

    /// The text of a field of theirs.
    pub(crate) fn word(self, field: &str) -> String {
        let number = match self {
            Self::Admins(_) | Self::Organisation(_) => 0,
            Self::Person(_, number) => number,
        };
        format!("cnry-{}{number}-{field}-x", self.organisation())
    }
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    /// A text or a secret that is told to whom it belongs.
    Told,
    /// What is kept, or used, and never told to anybody.
    Kept,
    /// An id: operators and providers are told of them.
    Id,
}

/// Who hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// Whoever asks, without credentials; and logs and metrics.
    Anybody,
    Caller(char),
    Webhook(char),
    Device(char, u8),
    /// A provider, about a device of this person.
    Provider(char, u8),
}

impl Audience {
    fn may_hear(self, owner: Owner, sort: Sort) -> bool {
        if sort == Sort::Kept {
            return false;
        }
        match (self, owner) {
            (Self::Anybody, _) => false,
            (Self::Caller(name) | Self::Webhook(name), owner) => owner.organisation() == name,
            (Self::Device(..) | Self::Provider(..), Owner::Admins(_)) => false,
            (Self::Device(name, _), Owner::Organisation(other)) => name == other,
            (Self::Device(name, number), Owner::Person(other, person)) => (name, number) == (other, person),
            (Self::Provider(name, number), Owner::Person(other, person)) => {
                sort == Sort::Id && (name, number) == (other, person)
            }
            (Self::Provider(..), Owner::Organisation(_)) => false,
        }
    }
}

/// All canaries, and where each was heard.
#[derive(Default)]
pub(crate) struct Flock {
    known: BTreeMap<String, (Owner, Sort)>,
    heard: BTreeMap<String, BTreeSet<Audience>>,
}

impl Flock {
    /// Watches a field's text.
    pub(crate) fn word(&mut self, owner: Owner, sort: Sort, field: &str) -> String {
        let word = owner.word(field);
        self.watch(owner, sort, &word);
        word
    }

    /// Watches any text.
    pub(crate) fn watch(&mut self, owner: Owner, sort: Sort, text: &str) {
        assert!(text.len() >= 6, "{text} is too short to be found for certain");
        let before = self.known.insert(text.to_owned(), (owner, sort));
        assert!(before.is_none_or(|before| before == (owner, sort)), "{text} is two people's");
    }

    /// Which canaries are in the text, encoded or not.
    fn inside(&self, text: &str, is_wanted: impl Fn(Sort) -> bool) -> BTreeSet<&String> {
        let all = unfolded(text);
        let mut found = BTreeSet::new();
        for (at, _) in all.match_indices("cnry-") {
            let rest = &all[at..];
            let end = rest.find("-x").unwrap_or_else(|| panic!("half a canary: {rest:.80}"));
            let (word, _) =
                self.known.get_key_value(&rest[..end + 2]).unwrap_or_else(|| panic!("whose is {rest:.80}?"));
            found.insert(word);
        }
        let others = self.known.iter().filter(|(word, (_, sort))| is_wanted(*sort) && !word.starts_with("cnry-"));
        found.extend(others.map(|(word, _)| word).filter(|word| holds(&all, word)));
        found
    }

    /// Lets somebody hear a text; what they said themselves they may hear again.
    #[track_caller]
    pub(crate) fn tell(&mut self, audience: Audience, place: &str, said: &str, text: &str) {
        let found: Vec<_> = self.inside(text, |_| true).into_iter().cloned().collect();
        for word in found {
            let (owner, sort) = self.known[&word];
            let may_hear = audience.may_hear(owner, sort) || (said.contains(&word) && audience != Audience::Anybody);
            assert!(may_hear, "{word} ({sort:?} of {owner:?}) is heard by {audience:?} in {place}:\n{text:.4000}");
            self.heard.entry(word).or_default().insert(audience);
        }
    }

    /// Looks for texts and secrets in what operators read.
    #[track_caller]
    pub(crate) fn read_out(&self, place: &str, text: &str) {
        if let Some(word) = self.inside(text, |sort| sort != Sort::Id).first() {
            let line = text.lines().find(|line| line.contains(word.as_str())).unwrap_or_default();
            panic!("{word} of {:?} is in {place}: {line:.2000}", self.known[*word].0);
        }
    }

    /// Every canary that is told to anybody was told to somebody: it was in play.
    #[track_caller]
    pub(crate) fn all_were_in_play(&self) {
        let told = self.known.iter().filter(|(_, (_, sort))| *sort == Sort::Told);
        let unheard: Vec<_> = told.map(|(word, _)| word).filter(|word| !self.heard.contains_key(*word)).collect();
        assert!(unheard.is_empty(), "never heard anywhere: {unheard:#?}");
    }

    /// How many of somebody's this audience has heard.
    pub(crate) fn heard_by(&self, audience: Audience, owner: Owner) -> usize {
        let is_theirs = |word: &&String| self.known[*word].0 == owner;
        self.heard.iter().filter(|(_, by)| by.contains(&audience)).map(|(word, _)| word).filter(is_theirs).count()
    }
}

#[test]
fn a_flock_knows_who_may_hear_what() {
    use countersign_proto::jose::base64url;
    let mut flock = Flock::default();
    let (ada, bob) = (Owner::Person('a', 1), Owner::Person('a', 2));
    let name = flock.word(ada, Sort::Told, "name");
    let token = flock.word(ada, Sort::Kept, "token");
    let hook = flock.word(Owner::Admins('a'), Sort::Told, "hook");
    flock.watch(bob, Sort::Id, "0193-id-of-bob");
    let mut leaks = |audience, said: &str, text: &str| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flock.tell(audience, "a reply", said, text))).is_err()
    };
    for audience in [Audience::Anybody, Audience::Caller('b'), Audience::Device('a', 2), Audience::Provider('a', 1)] {
        assert!(leaks(audience, "", &format!("{{\"n\":\"{name}\"}}")), "{audience:?}");
    }
    let token_of_it =
        format!("a.{}.c", base64url::encode(format!("{{\"name\":\"{name}\",\"filler\":\"a long one\"}}")));
    assert!(leaks(Audience::Device('b', 1), "", &token_of_it));
    assert!(!leaks(Audience::Device('a', 1), "", &token_of_it));
    assert!(leaks(Audience::Device('a', 1), "", &hook) && !leaks(Audience::Webhook('a'), "", &hook));
    assert!(leaks(Audience::Caller('a'), "", &token) && !leaks(Audience::Caller('a'), &token, &token));
    assert!(leaks(Audience::Provider('a', 1), "", "0193-id-of-bob"));
    assert!(!leaks(Audience::Provider('a', 2), "", "0193-id-of-bob"));
    let silent = std::panic::catch_unwind(|| {
        let mut flock = Flock::default();
        flock.word(ada, Sort::Told, "name");
        flock.all_were_in_play();
    });
    assert!(silent.is_err(), "a canary that nobody put anywhere proves nothing");
}
