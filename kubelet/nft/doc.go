// Package nft is how a part of the node speaks to nf_tables: rules as data, their encoding for netlink, transactions, and
// whether a table is still as it was made. What is in a table is its owner's business (kubelet/proxy, kubelet/policy).
//
// An owner has one table per address family, under one name. It consists of chains (Chain), sets and maps (Set) and their
// elements (Element). State keeps what elements are wanted, by whom, and how that differs from what the kernel has; a
// Batch carries the difference to the kernel, all of it or nothing; Tables tells when somebody else meddled.
package nft
