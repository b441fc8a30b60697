//! Artifacts of the `bootloader` role.
//!
//! U-Boot proper travels as a FIT ([`super::fit`] signs it); what is particular to bootloaders is
//! here. ROM formats (NXP HAB and AHAB, TI K3, UEFI PE) go beside `u_boot_fit` as one module each, with
//! the usual `plan` and `attach`, and a subcommand option that names their input.

pub mod u_boot;
pub mod u_boot_fit;
