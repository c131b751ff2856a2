package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// sendBuffer must hold a whole transaction: some 100 bytes an element.
	sendBuffer = 64 << 20
	// answerTime bounds how long the kernel may take, so that a lost answer can't block the owner.
	answerTime = 30 * time.Second
)

// dial opens a netlink socket to netfilter.
func dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening netfilter's netlink socket: %w", err)
	}
	deadline := time.Now().Add(answerTime) //nolint:forbidigo // the kernel's answer takes real time
	// Without the option errors only say less.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(fmt.Errorf("bounding the wait for netfilter: %w", err), conn.Close())
	}
	return conn, nil
}

// Commit sends the batch as one transaction: all of it takes effect at once, or nothing.
func (b *Batch) Commit() error {
	if len(b.messages) == 0 {
		return nil
	}
	if b.err != nil {
		return fmt.Errorf("encoding: %w", b.err)
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with the socket
	if err := conn.SetWriteBuffer(sendBuffer); err != nil {
		return fmt.Errorf("growing the send buffer: %w", err)
	}
	// Errors come in the order of the messages, so an acknowledgement of the last one alone tells how it all went.
	last := len(b.messages) - 1
	b.messages[last].Header.Flags |= netlink.Acknowledge
	all := make([]netlink.Message, 0, len(b.messages)+2)
	all = append(all, frame(unix.NFNL_MSG_BATCH_BEGIN))
	all = append(append(all, b.messages...), frame(unix.NFNL_MSG_BATCH_END))
	if _, err := conn.SendMessages(all); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if _, err := conn.Receive(); err != nil {
		return fmt.Errorf("transaction of %d messages: %w", len(b.messages), err)
	}
	return nil
}

func frame(typ uint16) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request},
		Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
	}
}

// query asks nf_tables one question.
func query(typ int, family uint8, flags netlink.HeaderFlags, body attrs) ([]netlink.Message, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with the socket
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: nfType(typ), Flags: netlink.Request | flags},
		Data:   append(header(family, 0), body...),
	})
}

// Generation counts the transactions on the namespace's ruleset, by whomever.
func Generation() (uint32, error) {
	replies, err := query(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil)
	if err != nil {
		return 0, fmt.Errorf("reading nftables' generation: %w", err)
	}
	for _, m := range replies {
		if ad, err := decode(m); err == nil {
			for ad.Next() {
				if ad.Type() == unix.NFTA_GEN_ID {
					return ad.Uint32(), nil
				}
			}
		}
	}
	return 0, errors.New("reading nftables' generation: no answer")
}

func decode(m netlink.Message) (*netlink.AttributeDecoder, error) {
	if len(m.Data) < 4 {
		return nil, errors.New("message too short")
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return nil, err
	}
	ad.ByteOrder = binary.BigEndian
	return ad, nil
}
