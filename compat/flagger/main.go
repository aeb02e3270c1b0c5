// Asks one webhook as Flagger does, with Flagger's own code; usage: flagger-webhook confirm-promotion|rollback URL
//
// Exit code 0: Flagger takes the answer for a yes; 1: for a no, and its reason is printed.
package main

import (
	"fmt"
	"os"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/controller"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: flagger-webhook confirm-promotion|rollback URL")
		os.Exit(2)
	}
	canary := flaggerv1.Canary{}
	canary.Name, canary.Namespace = "copilot", "prod"
	hook := flaggerv1.CanaryWebhook{
		Name: "killswitch", Type: flaggerv1.HookType(os.Args[1]), URL: os.Args[2], Timeout: "10s",
	}
	if err := controller.CallWebhook(canary, flaggerv1.CanaryPhaseProgressing, hook); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
