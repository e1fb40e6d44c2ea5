//! The arguments of one node of a golden network, with its name for what is wrong with them.

use serde_json::Value;

use super::Unsupported;

/// Arguments by name, and the node whose they are. `null` stands for the default, as absence does.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    node: &'a str,
    values: &'a Value,
}

impl<'a> Arguments<'a> {
    /// A node: an object with one key, its name, whose value holds the arguments.
    pub(super) fn of(network: &'a Value) -> Result<Self, Unsupported> {
        match network.as_object().and_then(|o| o.iter().next().filter(|_| o.len() == 1)) {
            Some((node, values)) => Ok(Arguments { node, values }),
            None => Err(malformed(format!("a node is an object with one key, not {network}"))),
        }
    }

    pub(super) fn node(&self) -> &'a str {
        self.node
    }

    /// The nodes of a `serial` or `parallel`.
    pub(super) fn nodes(&self) -> Result<&'a [Value], Unsupported> {
        self.values
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| malformed(format!("{} holds a list", self.node)))
    }

    /// Refuses arguments that would go unread.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Unsupported> {
        let named = self.values.as_object().into_iter().flatten();
        match named.map(|(name, _)| name.as_str()).find(|name| !known.contains(name)) {
            Some(name) => Err(self.wrong(name)),
            None => Ok(()),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// The argument is not one that a `Net` takes here.
    pub(super) fn wrong(&self, name: &str) -> Unsupported {
        let value = self.get(name).unwrap_or(&Value::Null).to_string();
        Unsupported::Argument { node: self.node.to_owned(), argument: name.to_owned(), value }
    }

    fn read<T>(
        &self,
        name: &str,
        default: Option<T>,
        read: fn(&'a Value) -> Option<T>,
    ) -> Result<T, Unsupported> {
        match self.get(name) {
            None => default.ok_or_else(|| malformed(format!("{} needs {name}", self.node))),
            Some(value) => read(value).ok_or_else(|| self.wrong(name)),
        }
    }

    pub(super) fn number(&self, name: &str, default: Option<f64>) -> Result<f64, Unsupported> {
        self.read(name, default, Value::as_f64)
    }

    pub(super) fn count(&self, name: &str, default: Option<usize>) -> Result<usize, Unsupported> {
        self.read(name, default, |value| value.as_u64().and_then(|count| count.try_into().ok()))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Unsupported> {
        self.read(name, Some(default), Value::as_bool)
    }

    pub(super) fn word(&self, name: &str, default: &'a str) -> Result<&'a str, Unsupported> {
        self.read(name, Some(default), Value::as_str)
    }

    /// A list of whole numbers.
    pub(super) fn counts(&self, name: &str, default: Option<Vec<usize>>) -> Result<Vec<usize>, Unsupported> {
        self.read(name, default, |value| serde_json::from_value(value.clone()).ok())
    }

    /// Axes of an array of `rank` axes, negative ones from the end: one number or a list.
    pub(super) fn axes(&self, name: &str, rank: usize, default: &[isize]) -> Result<Vec<usize>, Unsupported> {
        let axes = self.read(name, Some(default.to_vec()), |value| {
            let one = serde_json::from_value(value.clone()).map(|axis: isize| vec![axis]);
            one.or_else(|_| serde_json::from_value(value.clone())).ok()
        })?;
        let counted = |&axis: &isize| {
            let axis = if axis < 0 { axis.checked_add_unsigned(rank)? } else { axis };
            usize::try_from(axis).ok().filter(|&axis| axis < rank)
        };
        axes.iter().map(counted).collect::<Option<_>>().ok_or_else(|| self.wrong(name))
    }
}

pub(super) fn malformed(reason: String) -> Unsupported {
    Unsupported::Malformed { reason }
}
