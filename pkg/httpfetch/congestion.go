package httpfetch

import (
	"syscall"

	"go.uber.org/zap"
)

// kernelsOwn is the value of ClientConfig.Congestion that asks for nothing.
const kernelsOwn = "default"

// congest asks for the congestion control of the configuration on a new socket.
// What the first one got is logged: it is the same for all.
func (c *Client) congest(r syscall.RawConn) {
	asked := c.cfg.Congestion
	if asked == kernelsOwn {
		asked = ""
	}
	used, err := setCongestion(r, asked)
	c.congestion.Do(func() {
		if err != nil {
			c.cfg.Log.Warn("the kernel does not offer this TCP congestion control, or not to this user; its own is used towards mirrors (load the module tcp_"+asked+", and see net.ipv4.tcp_allowed_congestion_control)",
				zap.String("congestion", asked), zap.String("used", used), zap.Error(err))
			return
		}
		c.cfg.Log.Info("TCP congestion control towards mirrors", zap.String("used", used))
	})
}
