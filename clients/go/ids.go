// ids.go - the two kinds of ids: numbers, and keys of 1 to 64 bytes.
//
// 7 and "7" are two ids. Here, what reads as a number is one, and everything else is a key.
package main

import (
	"fmt"
	"strconv"
	"strings"

	pb "omendb-client-go/omendb/v1"
)

// idMaker names the rows of a matrix: by numbers from first on or, with a prefix, by keys made of
// it and the number.
type idMaker struct {
	prefix string
	first  uint64
}

func (m idMaker) numbers() bool { return m.prefix == "" }

func (m idMaker) id(row int) *pb.PointId {
	number := m.first + uint64(row)
	if m.numbers() {
		return &pb.PointId{Kind: &pb.PointId_Num{Num: number}}
	}
	key := m.prefix + strconv.FormatUint(number, 10)
	return &pb.PointId{Kind: &pb.PointId_Key{Key: []byte(key)}}
}

func (m idMaker) nums(from, to int) []uint64 {
	ids := make([]uint64, to-from)
	for i := range ids {
		ids[i] = m.first + uint64(from+i)
	}
	return ids
}

func (m idMaker) keyBytesMax() int {
	if m.numbers() {
		return 0
	}
	return len(m.prefix) + 20 // 2^64 has 20 digits
}

func parseIDs(list string) ([]*pb.PointId, error) {
	var ids []*pb.PointId
	for _, word := range strings.Split(list, ",") {
		if word == "" {
			return nil, fmt.Errorf("ids is %q, it must be ids with commas between them", list)
		}
		if number, err := strconv.ParseUint(word, 10, 64); err == nil {
			ids = append(ids, &pb.PointId{Kind: &pb.PointId_Num{Num: number}})
		} else {
			ids = append(ids, &pb.PointId{Kind: &pb.PointId_Key{Key: []byte(word)}})
		}
	}
	return ids, nil
}

func nameOf(id *pb.PointId) string {
	if key := id.GetKey(); key != nil {
		return string(key)
	}
	return strconv.FormatUint(id.GetNum(), 10)
}
