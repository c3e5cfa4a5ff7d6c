// Package sim runs whole swarms in virtual time: the engine's own deciding code
// (packages picker and serve), whole and unchanged, on a modelled network.
//
// What is modelled: for each node an uplink and a downlink with their rates, the
// same delay between any two, a socket for each direction of a connection that
// takes blocks while little of it is unsent, a writer that sends messages
// before blocks and waits for its turn, the bytes of headers and of messages, and a
// short time until a piece is verified. The uplink sends from its sockets in
// turn. The downlink is a queue of 60 ms; what does not fit waits at the sender.
//
// What is not: loss and retransmission, slow start, processors (a node decides
// in no time), and the noise of real machines. So the figures are what the
// rules give on a perfect network, a little better than any lab's.
//
// Everything follows from Config: the same Config gives the same Result.
package sim
