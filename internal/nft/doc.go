// Package nft speaks just as much nf_tables to the Linux kernel as a fault that
// cuts traffic needs: tables that belong to the socket which made them, chains,
// sets whose elements time out, counting rules, one atomic transaction, a look
// at what is there, and a queue by which packets come to a program (nfnetlink_queue).
//
// There is an encoder of our own because a table must carry NFT_TABLE_F_OWNER, by
// which the kernel removes it when its socket closes, however its process ends;
// the libraries always send table flags 0. No program is run and nothing of
// anybody else's tables is ever written.
//
// It knows nothing of faults and nodes, and it is no firewall library. It is empty
// on systems other than Linux.
package nft
