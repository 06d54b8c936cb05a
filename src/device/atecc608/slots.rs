//! What a slot allows, and the bits of SlotConfig and KeyConfig that say so.

/// Purpose and permissions of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotUse {
    /// P-256 private key.
    PrivateKey(PrivateKeyRules),
    /// Octets.
    Data(DataRules),
}

/// Permissions of a private key slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrivateKeyRules {
    /// Signs digests that the host supplies (ReadKey bit 0).
    pub external_sign: bool,
    /// Signs statements about the chip's own state (ReadKey bit 1).
    pub internal_sign: bool,
    /// Takes part in ECDH (ReadKey bit 2).
    pub ecdh: bool,
    /// GenKey may replace the key until the slot is locked (WriteConfig bit 1).
    pub generate: bool,
    /// PrivWrite may put in a key from outside (WriteConfig bit 2).
    pub import: bool,
    /// The public half may be computed at any time (PubInfo).
    pub public: bool,
    /// The slot can be locked on its own (Lockable).
    pub lockable: bool,
}

/// Permissions of a data slot after the data zone lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataRules {
    /// Clear reads allowed; otherwise the slot is secret and never read.
    pub readable: bool,
    /// Clear writes allowed until the slot is locked.
    pub writable: bool,
    /// The slot can be locked on its own (Lockable).
    pub lockable: bool,
}

/// A slot that nothing uses: secret, never written, never locked apart.
pub const CLOSED: SlotUse = SlotUse::Data(DataRules { readable: false, writable: false, lockable: false });

const READ_EXTERNAL: u16 = 1;
const READ_INTERNAL: u16 = 1 << 1;
const READ_ECDH: u16 = 1 << 2;
const IS_SECRET: u16 = 1 << 7;
const WRITE_GENERATE: u16 = 1 << 13;
const WRITE_IMPORT: u16 = 1 << 14;
const WRITE_NEVER: u16 = 1 << 15;
/// ReadKey and WriteKey of clear data: slot 15, as vendor configurations have it.
const CLEAR_KEYS: u16 = 0x0F0F;
const PRIVATE: u16 = 1;
const PUB_INFO: u16 = 1 << 1;
const TYPE_P256: u16 = 4 << 2;
const TYPE_DATA: u16 = 7 << 2;
const LOCKABLE: u16 = 1 << 5;

fn flag(condition: bool, bits: u16) -> u16 {
    if condition { bits } else { 0 }
}

impl SlotUse {
    /// SlotConfig word.
    pub fn slot_config(&self) -> u16 {
        match self {
            Self::PrivateKey(k) => {
                IS_SECRET
                    | flag(k.external_sign, READ_EXTERNAL)
                    | flag(k.internal_sign, READ_INTERNAL)
                    | flag(k.ecdh, READ_ECDH)
                    | flag(k.generate, WRITE_GENERATE)
                    | flag(k.import, WRITE_IMPORT)
                    | flag(!k.generate && !k.import, WRITE_NEVER)
            }
            Self::Data(d) => CLEAR_KEYS | flag(!d.readable, IS_SECRET) | flag(!d.writable, WRITE_NEVER),
        }
    }

    /// KeyConfig word.
    pub fn key_config(&self) -> u16 {
        match self {
            Self::PrivateKey(k) => PRIVATE | TYPE_P256 | flag(k.public, PUB_INFO) | flag(k.lockable, LOCKABLE),
            Self::Data(d) => TYPE_DATA | flag(d.lockable, LOCKABLE),
        }
    }

    /// The slot can be locked on its own.
    pub fn lockable(&self) -> bool {
        match self {
            Self::PrivateKey(k) => k.lockable,
            Self::Data(d) => d.lockable,
        }
    }
}

/// Raw permission words of a chip, as its own logic reads them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotWords {
    /// SlotConfig.
    pub slot: u16,
    /// KeyConfig.
    pub key: u16,
}

impl SlotWords {
    /// Reads the words of `slot` (0 to 15) from a configuration zone.
    pub fn of(configuration: &[u8; 128], slot: u8) -> Self {
        let at = usize::from(slot & 0x0f) * 2;
        let word = |base: usize| match configuration.get(base + at..base + at + 2) {
            Some([low, high]) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        };
        Self { slot: word(20), key: word(96) }
    }

    /// P-256 private key slot: Private set and KeyType 4.
    pub fn is_private_p256(self) -> bool {
        self.key & PRIVATE != 0 && self.key & (7 << 2) == TYPE_P256
    }

    /// Private key slot of any type.
    pub fn is_private(self) -> bool {
        self.key & PRIVATE != 0
    }

    /// Sign of host digests.
    pub fn signs_external(self) -> bool {
        self.is_private_p256() && self.slot & READ_EXTERNAL != 0
    }

    /// Sign of the chip's own statements.
    pub fn signs_internal(self) -> bool {
        self.is_private_p256() && self.slot & READ_INTERNAL != 0
    }

    /// GenKey create after the data lock.
    pub fn generates(self) -> bool {
        self.slot & WRITE_GENERATE != 0
    }

    /// PrivWrite of a key from outside.
    pub fn imports(self) -> bool {
        self.is_private() && self.slot & WRITE_IMPORT != 0
    }

    /// GenKey public.
    pub fn tells_public_key(self) -> bool {
        self.key & PUB_INFO != 0
    }

    /// A random nonce must be in TempKey (ReqRandom).
    pub fn requires_random(self) -> bool {
        self.key & (1 << 6) != 0
    }

    /// Clear reads after the data lock.
    pub fn reads_clear(self) -> bool {
        !self.is_private() && self.slot & IS_SECRET == 0
    }

    /// Clear writes after the data lock (WriteConfig 0000 "always").
    pub fn writes_clear(self) -> bool {
        !self.is_private() && self.slot >> 12 == 0
    }

    /// The slot can be locked on its own.
    pub fn lockable(self) -> bool {
        self.key & LOCKABLE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_words_say_what_the_rules_say(bits in any::<[bool; 7]>()) {
            let [external_sign, internal_sign, ecdh, generate, import, public, lockable] = bits;
            let rules = SlotUse::PrivateKey(PrivateKeyRules { external_sign, internal_sign, ecdh, generate, import, public, lockable });
            let words = SlotWords { slot: rules.slot_config(), key: rules.key_config() };
            prop_assert!(words.is_private_p256());
            prop_assert_eq!(words.signs_external(), external_sign);
            prop_assert_eq!(words.signs_internal(), internal_sign);
            prop_assert_eq!(words.generates(), generate);
            prop_assert_eq!(words.tells_public_key(), public);
            prop_assert_eq!(words.lockable(), lockable);
            prop_assert!(!words.reads_clear() && !words.writes_clear());
            let data = SlotUse::Data(DataRules { readable: bits[0], writable: bits[1], lockable: bits[2] });
            let words = SlotWords { slot: data.slot_config(), key: data.key_config() };
            prop_assert!(!words.is_private());
            prop_assert_eq!((words.reads_clear(), words.writes_clear(), words.lockable()), (bits[0], bits[1], bits[2]));
        }
    }

    #[test]
    fn vendor_words_for_a_device_key_and_a_certificate() {
        let key = PrivateKeyRules {
            external_sign: true,
            internal_sign: true,
            ecdh: false,
            generate: true,
            import: false,
            public: true,
            lockable: true,
        };
        assert_eq!((SlotUse::PrivateKey(key).slot_config(), SlotUse::PrivateKey(key).key_config()), (0x2083, 0x0033));
        let certificate = DataRules { readable: true, writable: true, lockable: true };
        assert_eq!((SlotUse::Data(certificate).slot_config(), SlotUse::Data(certificate).key_config()), (0x0F0F, 0x003C));
    }
}
