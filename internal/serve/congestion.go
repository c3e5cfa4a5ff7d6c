package serve

import (
	"net"

	"go.uber.org/zap"
)

// congest asks for the congestion control of the configuration on a connection
// that was accepted. A kernel without it keeps its own. What the first
// connection got is logged: it is the same for all.
func (s *Server) congest(c *net.TCPConn) {
	asked := s.cfg.Congestion
	used, err := setCongestion(c, asked)
	s.congestionOnce.Do(func() {
		if err != nil {
			s.log.Warn("the kernel does not offer this TCP congestion control, or not to this user; its own is used towards HTTP clients (load the module tcp_"+asked+", and see net.ipv4.tcp_allowed_congestion_control)",
				zap.String("congestion", asked), zap.String("used", used), zap.Error(err))
			return
		}
		s.log.Info("TCP congestion control towards HTTP clients", zap.String("used", used))
	})
}
