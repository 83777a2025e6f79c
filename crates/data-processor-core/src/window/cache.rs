//! Open windows that are held in memory: at most so many bytes; what was used least lately makes room.

use hashbrown::HashMap;

use super::group::KeyState;

/// Bytes of an entry beside its windows: the map's slot, the key's own allocation, what allocators round up.
const ENTRY: usize = 160;

/// States of keys by window, with the sequence of the file they reflect.
///
/// The bound holds between events: one event's own windows are held while it is added, however large they are.
#[derive(Debug)]
pub(super) struct Cache {
    windows: HashMap<i64, HashMap<String, Held>>,
    clock: u64,
    most: usize,
    /// Sequence of the file that the states agree with.
    pub(super) reflects: i64,
    /// What is held, and was at most, and how often a key went back to the file.
    pub(super) memory: Memory,
}

/// How much the windows of a store hold in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes now, as reckoned by [`super::Group::bytes`].
    pub held: usize,
    /// The most there ever were.
    pub peak: usize,
    /// Keys that went back to the file to make room, ever.
    pub spilled: u64,
}

#[derive(Debug, Default)]
struct Held {
    state: KeyState,
    bytes: usize,
    used: u64,
}

impl Cache {
    /// An empty one that holds at most `most` bytes.
    pub(super) fn new(most: usize) -> Cache {
        Cache { windows: HashMap::new(), clock: 0, most, reflects: -1, memory: Memory::default() }
    }

    /// Forgets everything; nothing is written.
    pub(super) fn clear(&mut self) {
        self.windows.clear();
        self.memory.held = 0;
    }

    /// Changes the state of a key, which `load` brings when it is not here.
    pub(super) fn change<T, E>(
        &mut self,
        (window, key): (i64, &str),
        load: impl FnOnce() -> Result<KeyState, E>,
        act: impl FnOnce(&mut KeyState) -> T,
    ) -> Result<T, E> {
        let keys = self.windows.entry(window).or_default();
        let held = match keys.entry_ref(key) {
            hashbrown::hash_map::EntryRef::Occupied(found) => found.into_mut(),
            hashbrown::hash_map::EntryRef::Vacant(free) => free.insert(Held { state: load()?, ..Held::default() }),
        };
        let done = act(&mut held.state);
        self.clock += 1;
        held.used = self.clock;
        let bytes = ENTRY + key.len() + held.state.values().map(super::Group::bytes).sum::<usize>();
        self.memory.held = self.memory.held + bytes - held.bytes;
        self.memory.peak = self.memory.peak.max(self.memory.held);
        held.bytes = bytes;
        Ok(done)
    }

    /// Whether more is held than may be.
    pub(super) fn is_over(&self) -> bool {
        self.memory.held > self.most
    }

    /// Takes out the keys used least lately, until half of what may be held is left.
    pub(super) fn make_room(&mut self) -> Vec<(i64, String, KeyState)> {
        let mut names: Vec<(u64, i64, String)> = Vec::new();
        for (window, keys) in &self.windows {
            names.extend(keys.iter().map(|(key, held)| (held.used, *window, key.clone())));
        }
        names.sort_unstable();
        let mut gone = Vec::new();
        for (_, window, key) in names {
            if self.memory.held <= self.most / 2 {
                break;
            }
            if let Some(state) = self.remove(window, &key) {
                self.memory.spilled += 1;
                gone.push((window, key, state));
            }
        }
        gone
    }

    /// Lets go of a key without open windows.
    pub(super) fn drop_if_empty(&mut self, window: i64, key: &str) {
        let empty = |keys: &HashMap<String, Held>| keys.get(key).is_some_and(|held| held.state.is_empty());
        if self.windows.get(&window).is_some_and(empty) {
            self.remove(window, key);
        }
    }

    fn remove(&mut self, window: i64, key: &str) -> Option<KeyState> {
        let held = self.windows.get_mut(&window)?.remove(key)?;
        self.memory.held -= held.bytes;
        Some(held.state)
    }
}
