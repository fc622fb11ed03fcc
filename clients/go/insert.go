// insert.go - streams rows in: one session, a window of unacknowledged chunks, and its resumption.
//
// Happy path: chunks with sequence numbers 1, 2, 3, ... go out for as long as what is not durable
// yet fits the window; the receiving goroutine reads the acknowledgements and lets the window move.
// After the half-close the server ends the stream with OK once everything is searchable.
//
// Failure modes:
//   - UNAVAILABLE (a server that restarts) or a broken connection: the session is opened again with
//     the same id, and the server says which chunk it wants next. What it has already it drops, so
//     nothing is lost or doubled. The program gives up when nothing became durable for a minute.
//   - Drain: the server takes no more chunks of this call. Nothing is sent until it has ended it;
//     then the session is opened again, after the time that the server told.
//   - A point is refused: an item error; the other points of its chunk go in. Open says up to which
//     chunk they are known, so that the server tells again what a broken connection swallowed.
//   - Any other status (INCARNATION_CHANGED: the collection was deleted and made again meanwhile):
//     an error.
//
// The rows are in memory, so a chunk that must be sent again is cut again. A program whose rows
// come from elsewhere keeps the chunks above the durable watermark instead.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "omendb-client-go/omendb/v1"
)

const (
	backoffFirst  = 100 * time.Millisecond
	backoffMax    = 5 * time.Second
	patience      = time.Minute
	windowBytes   = 8 << 20 // less than the server's credit: this much is sent again after a cut
	chunkOverhead = 1024    // of a record of the log, beside its points
	pointOverhead = 16      // of a point, beside its floats and its key
)

// insertion is one session and what is known of it.
type insertion struct {
	// Fixed at the start.
	client     pb.VectorServiceClient
	collection string
	rows       matrix
	ids        idMaker
	mode       pb.WriteMode
	ttl        uint32
	sessionID  []byte

	// Fixed by the first Opened; every attempt cuts the same chunks.
	chunkRows   int
	incarnation []byte
	last        uint64 // sequence number of the last chunk

	// Under mutex; moved changes with them. Watermarks of the session never go back.
	mutex      sync.Mutex
	moved      *sync.Cond
	durable    uint64
	searchable uint64
	errorsSeen uint64 // item errors up to here are known
	forgotten  bool   // the server could not tell some again
	position   uint64 // of the last durable chunk in the log
	movedAt    time.Time
	refused    map[itemKey]*pb.ItemError
	sent       uint64 // the highest sequence number sent, ever
	resent     int
	reconnects int
	drains     int
}

// call is one call of Insert; a session lives through several. Under the insertion's mutex.
type call struct {
	ended      bool
	drained    bool
	retryAfter time.Duration
	credit     uint64
}

// An item error may be told again after a resume.
type itemKey struct {
	seq   uint64
	index uint32
}

func newInsertion(client pb.VectorServiceClient, collection string, rows matrix,
	ids idMaker) (*insertion, error) {
	in := &insertion{client: client, collection: collection, rows: rows, ids: ids,
		mode: pb.WriteMode_WRITE_MODE_INSERT_ONLY, sessionID: make([]byte, 16),
		refused: map[itemKey]*pb.ItemError{}, movedAt: time.Now()}
	in.moved = sync.NewCond(&in.mutex)
	_, err := rand.Read(in.sessionID)
	return in, err
}

// run returns once everything is searchable.
func (in *insertion) run(ctx context.Context) error {
	backoff := backoffFirst
	for {
		before := in.durable
		this := &call{}
		err := in.attempt(ctx, this)
		if !worthAnotherTry(err) {
			return err
		}
		wait := time.Duration(float64(backoff) * (0.8 + 0.4*mathrand.Float64()))
		if this.drained { // not earlier, and not all at once
			in.drains++
			wait = time.Duration(float64(this.retryAfter) * (1 + 0.2*mathrand.Float64()))
		} else if in.durable > before {
			backoff = backoffFirst
		} else if time.Since(in.movedAt) > patience {
			return fmt.Errorf("nothing became durable for %v: %w", patience, err)
		}
		in.reconnects++
		fmt.Fprintf(os.Stderr, "reconnecting: %v\n", status.Convert(err).Message())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if backoff *= 2; this.drained {
			backoff = backoffFirst
		} else if backoff > backoffMax {
			backoff = backoffMax
		}
	}
}

// worthAnotherTry tells a server that is away, and a broken connection, from a refusal: a status of
// the server's own always carries details.
func worthAnotherTry(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled:
		st, isStatus := status.FromError(err)
		return err != nil && isStatus && len(st.Proto().GetDetails()) == 0
	}
	return false
}

// attempt runs one call of Insert to its end; nil when the server said that all is searchable.
func (in *insertion) attempt(ctx context.Context, this *call) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := in.client.Insert(ctx)
	if err != nil {
		return err
	}
	// A failed Send says EOF only; the status comes from Recv.
	_ = stream.Send(&pb.InsertRequest{Body: &pb.InsertRequest_Open{Open: &pb.Open{
		Collection: in.collection, SessionId: in.sessionID, ClientName: "omendb go program",
		Mode: in.mode, ErrorsSeenSeq: in.errorsSeen, Incarnation: in.incarnation}}})
	response, err := stream.Recv()
	if err != nil {
		return endOf(err)
	}
	opened := response.GetOpened()
	if opened == nil {
		return fmt.Errorf("the server answered Open with %v", response)
	}
	next, err := in.takeOpened(opened)
	if err != nil {
		return err
	}
	this.credit = uint64(opened.CreditBytes)
	result := make(chan error, 1)
	go func() {
		err := in.receive(stream, this)
		in.mutex.Lock()
		this.ended = true
		in.mutex.Unlock()
		in.moved.Broadcast()
		result <- err
	}()
	in.send(stream, next, this)
	err = <-result
	if err == nil && in.durable < in.last {
		return status.Error(codes.Unavailable, "the stream ended before everything was durable")
	}
	return err
}

func (in *insertion) takeOpened(opened *pb.Opened) (uint64, error) {
	if int(opened.Dim) != in.rows.dim {
		return 0, fmt.Errorf("the collection has %d components, the rows %d", opened.Dim,
			in.rows.dim)
	}
	if in.incarnation == nil {
		in.incarnation = opened.Incarnation
		in.chunkRows = (int(opened.MaxChunkBytes) - chunkOverhead) /
			(4*in.rows.dim + pointOverhead + in.ids.keyBytesMax())
		in.last = uint64((in.rows.rows() + in.chunkRows - 1) / in.chunkRows)
	} else if !bytes.Equal(in.incarnation, opened.Incarnation) {
		return 0, fmt.Errorf("collection %q was deleted and made again meanwhile", in.collection)
	}
	in.mutex.Lock()
	defer in.mutex.Unlock()
	if opened.NextSeq <= in.durable || opened.NextSeq > in.sent+1 {
		return 0, fmt.Errorf("the server wants chunk %d; up to %d were durable and %d sent",
			opened.NextSeq, in.durable, in.sent)
	}
	if opened.ErrorsFromSeq > in.errorsSeen+1 {
		in.forgotten = true
	}
	in.advance(opened.NextSeq-1, 0)
	return opened.NextSeq, nil
}

func (in *insertion) send(stream pb.VectorService_InsertClient, next uint64, this *call) {
	bytesOfChunk := uint64(in.chunkRows * 4 * in.rows.dim)
	for ; next <= in.last; next++ {
		in.mutex.Lock()
		for !this.ended && !this.drained && next > in.durable+1 &&
			(next-in.durable)*bytesOfChunk > this.window() {
			in.moved.Wait()
		}
		if this.ended || this.drained {
			in.mutex.Unlock()
			return // receive sees the end
		}
		if next <= in.sent {
			in.resent++
		} else {
			in.sent = next
		}
		in.mutex.Unlock()
		if stream.Send(in.chunk(next)) != nil {
			return // Recv tells why
		}
	}
	_ = stream.CloseSend()
}

// window is how much may be under way: no more than the server grants, and no more than we want to
// send again.
func (c *call) window() uint64 {
	if c.credit < windowBytes {
		return c.credit
	}
	return windowBytes
}

func (in *insertion) chunk(seq uint64) *pb.InsertRequest {
	from := int(seq-1) * in.chunkRows
	to := from + in.chunkRows
	if to > in.rows.rows() {
		to = in.rows.rows()
	}
	chunk := &pb.Chunk{Seq: seq}
	if in.ids.numbers() { // the fast way: two runs of bytes
		chunk.Columns = &pb.PointColumns{Dim: uint32(in.rows.dim), Ids: in.ids.nums(from, to),
			VectorsF32Le: in.rows.slice(from, to), TtlS: in.ttl}
	} else {
		chunk.Points = in.rows.points(in.ids, from, to, in.ttl)
	}
	return &pb.InsertRequest{Body: &pb.InsertRequest_Chunk{Chunk: chunk}}
}

func (in *insertion) receive(stream pb.VectorService_InsertClient, this *call) error {
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if drain := response.GetDrain(); drain != nil {
			in.mutex.Lock()
			this.drained = true
			this.retryAfter = time.Duration(drain.RetryAfterMs) * time.Millisecond
			in.mutex.Unlock()
			in.moved.Broadcast()
			continue
		}
		ack := response.GetAck()
		if ack == nil {
			continue // a message of a newer server
		}
		in.mutex.Lock()
		this.credit = uint64(ack.CreditBytes)
		in.position = ack.LogPosition
		if ack.ErrorsCompleteSeq > in.errorsSeen {
			in.errorsSeen = ack.ErrorsCompleteSeq
		}
		for _, item := range ack.Errors {
			in.refused[itemKey{item.Seq, item.Index}] = item
		}
		in.advance(ack.DurableSeq, ack.SearchableSeq)
		fmt.Fprintf(os.Stderr, "durable %d searchable %d of %d chunks\n", in.durable,
			in.searchable, in.last)
		in.mutex.Unlock()
		in.moved.Broadcast()
	}
}

func (in *insertion) advance(durable, searchable uint64) {
	if durable > in.durable {
		in.durable = durable
		in.movedAt = time.Now()
	}
	if searchable > in.searchable {
		in.searchable = searchable
	}
}

// endOf makes a stream that ended with OK before Opened something to try again.
func endOf(err error) error {
	if err == io.EOF {
		return status.Error(codes.Unavailable, "the stream ended before it was opened")
	}
	return err
}
