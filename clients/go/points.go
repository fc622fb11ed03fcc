// points.go - single points without a stream: upsert, delete, get.
//
// Happy path: one request each. A write's answer comes when searches see it, and has a read token.
// Failure modes: points that are refused are item errors in the answer, the others are written; an
// id that is not there is no error of a delete. Upsert and Delete may be sent again when the server
// is away: twice is once.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	pb "omendb-client-go/omendb/v1"
)

// upsert writes the rows under the ids, one for each.
func upsert(ctx context.Context, client pb.VectorServiceClient, s settings, rows matrix,
	ids []*pb.PointId) error {
	if len(ids) != rows.rows() {
		return fmt.Errorf("%d ids for %d rows", len(ids), rows.rows())
	}
	points := rows.points(idMaker{}, 0, rows.rows(), uint32(s.ttl))
	for i := range points {
		points[i].Id = ids[i]
	}
	response, err := client.Upsert(ctx, &pb.UpsertRequest{Collection: s.collection,
		Mode: writeModes[s.mode], Points: points, WaitFor: pb.WaitFor_WAIT_FOR_SEARCHABLE})
	if err != nil {
		return err
	}
	tell("written", len(ids), response.Errors, response.Token)
	return nil
}

func remove(ctx context.Context, client pb.VectorServiceClient, s settings,
	ids []*pb.PointId) error {
	response, err := client.Delete(ctx, &pb.DeleteRequest{Collection: s.collection, Ids: ids,
		WaitFor: pb.WaitFor_WAIT_FOR_SEARCHABLE})
	if err != nil {
		return err
	}
	tell("deleted", len(ids), response.Errors, response.Token)
	return nil
}

// get prints a line for each id: "id missing" or "id expires component component ...".
func get(ctx context.Context, client pb.VectorServiceClient, s settings, ids []*pb.PointId,
	out io.Writer) error {
	response, err := client.Get(ctx, &pb.GetRequest{Collection: s.collection, Ids: ids})
	if err != nil {
		return err
	}
	for _, result := range response.Results {
		if !result.Found {
			fmt.Fprintf(out, "%s missing\n", nameOf(result.Id))
			continue
		}
		fmt.Fprintf(out, "%s %d", nameOf(result.Id), result.ExpiresUnixS)
		for _, value := range floats(result.F32Le) {
			fmt.Fprintf(out, " %g", value)
		}
		fmt.Fprintln(out)
	}
	return nil
}

func tell(what string, count int, errors []*pb.ItemError, token *pb.ReadToken) {
	fmt.Fprintf(os.Stderr, "%s %d refused %d position %d\n", what, count-len(errors), len(errors),
		token.GetLogPosition())
	for _, item := range errors {
		fmt.Fprintf(os.Stderr, "%s: %s: %s\n", nameOf(item.Id), item.Reason, item.Message)
	}
}
