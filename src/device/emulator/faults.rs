//! What can be made to go wrong, one knob each.

use crate::types::Invalid;

/// What becomes of a command whose power fails while it executes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Brownout {
    /// The memory is as before.
    Before,
    /// The memory is as after; only the answer is lost.
    After,
}

/// Faults of one emulated chip; all off by default.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Power fails once this many bytes of the bus (written and read, addresses excluded) have passed.
    pub power_loss_after_byte: Option<u64>,
    /// What becomes of a command that was complete when power failed.
    pub brownout: Brownout,
    /// Do not acknowledge this many write transactions.
    pub nak_writes: u32,
    /// Damage this many answers on their way to the host.
    pub damage_answers: u32,
    /// Treat this many commands as received with a damaged CRC.
    pub damage_commands: u32,
    /// Never finish a command.
    pub stuck_busy: bool,
    /// Execution takes this many times as long.
    pub slowness: u32,
    /// Signatures are made with another key than the slot's.
    pub lying_signature: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            power_loss_after_byte: None,
            brownout: Brownout::Before,
            nak_writes: 0,
            damage_answers: 0,
            damage_commands: 0,
            stuck_busy: false,
            slowness: 1,
            lying_signature: false,
        }
    }
}

impl Faults {
    /// Adds one fault written as `NAME` or `NAME=NUMBER`: `power-loss=BYTE`, `brownout-after`, `nak=N`,
    /// `damage-answers=N`, `damage-commands=N`, `stuck`, `slow=FACTOR`, `lying-signature`.
    pub fn add(&mut self, text: &str) -> Result<(), Invalid> {
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        let number = || -> Result<u32, Invalid> {
            let digits = value.ok_or_else(|| Invalid::new("fault", format!("'{name}' needs a number, as in {name}=3")))?;
            digits.parse().map_err(|_| Invalid::new("fault", format!("'{digits}' is not a number up to {}", u32::MAX)))
        };
        match name {
            "power-loss" => self.power_loss_after_byte = Some(u64::from(number()?)),
            "brownout-after" => self.brownout = Brownout::After,
            "nak" => self.nak_writes = number()?,
            "damage-answers" => self.damage_answers = number()?,
            "damage-commands" => self.damage_commands = number()?,
            "stuck" => self.stuck_busy = true,
            "slow" => self.slowness = number()?.max(1),
            "lying-signature" => self.lying_signature = true,
            other => {
                let known = "power-loss, brownout-after, nak, damage-answers, damage-commands, stuck, slow, lying-signature";
                return Err(Invalid::new("fault", format!("'{other}' is not one of {known}")));
            }
        }
        Ok(())
    }
}
