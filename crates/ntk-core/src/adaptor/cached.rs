//! `Cached`: a kernel that remembers the blocks it has given, up to a bound on memory.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::{Batch, KernelBlock, KernelFn, Which};

/// A kernel that remembers blocks, oldest forgotten first once they exceed a number of bytes.
///
/// Inputs are compared by a 128-bit hash of their values and shapes. A request for one kernel is answered from a
/// remembered block of both.
#[derive(Debug)]
pub struct Cached<K> {
    kernel: K,
    capacity: usize,
    blocks: Mutex<VecDeque<(Key, KernelBlock)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    left: [u64; 2],
    /// None for the symmetric kernel of `left`.
    right: Option<[u64; 2]>,
}

impl<K> Cached<K> {
    /// Remembers at most `capacity` bytes of kernel values.
    pub fn new(kernel: K, capacity: usize) -> Self {
        Cached { kernel, capacity, blocks: Mutex::new(VecDeque::new()) }
    }

    /// The wrapped kernel.
    pub fn into_inner(self) -> K {
        self.kernel
    }

    fn remembered<E>(
        &self,
        key: Key,
        which: Which,
        compute: impl FnOnce() -> Result<KernelBlock, E>,
    ) -> Result<KernelBlock, E> {
        // A panic while the lock was held cannot leave a half-written block: entries are pushed whole.
        let lock = || self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(found) =
            lock().iter().find_map(|(k, block)| (*k == key).then(|| select(block, which)).flatten())
        {
            return Ok(found);
        }
        let block = compute()?;
        let mut blocks = lock();
        blocks.push_back((key, block.clone()));
        let mut total: usize = blocks.iter().map(|(_, block)| bytes(block)).sum();
        while total > self.capacity {
            let Some((_, forgotten)) = blocks.pop_front() else { break };
            total -= bytes(&forgotten);
        }
        Ok(block)
    }
}

impl<K: KernelFn> KernelFn for Cached<K> {
    type Error = K::Error;

    fn block(&self, x1: Batch<'_>, x2: Batch<'_>, which: Which) -> Result<KernelBlock, K::Error> {
        let key = Key { left: hash(x1), right: Some(hash(x2)) };
        self.remembered(key, which, || self.kernel.block(x1, x2, which))
    }

    fn symmetric(&self, x: Batch<'_>, which: Which) -> Result<KernelBlock, K::Error> {
        let key = Key { left: hash(x), right: None };
        self.remembered(key, which, || self.kernel.symmetric(x, which))
    }

    fn diag(&self, x: Batch<'_>, which: Which) -> Result<crate::KernelDiag, K::Error> {
        self.kernel.diag(x, which)
    }
}

/// 128 bits of everything in the batch.
fn hash(batch: Batch<'_>) -> [u64; 2] {
    [0u64, 1].map(|salt| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        batch.words(|word| word.hash(&mut hasher));
        hasher.finish()
    })
}

fn select(block: &KernelBlock, which: Which) -> Option<KernelBlock> {
    let has = |wanted: bool, from: &Option<_>| !wanted || from.is_some();
    (has(which.nngp(), &block.nngp) && has(which.ntk(), &block.ntk)).then(|| KernelBlock {
        nngp: block.nngp.clone().filter(|_| which.nngp()),
        ntk: block.ntk.clone().filter(|_| which.ntk()),
    })
}

fn bytes(block: &KernelBlock) -> usize {
    [&block.nngp, &block.ntk].into_iter().flatten().map(|a| a.len() * size_of::<f64>()).sum()
}
