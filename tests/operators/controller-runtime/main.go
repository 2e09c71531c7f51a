// An operator of Gadgets with controller-runtime: each becomes a Deployment that it owns; a finalizer says farewell.
// The first argument is its name; of several, the one that holds the lease works.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	manager   = "gadgets-controller-runtime"
	group     = "controller-runtime.example.com"
	finalizer = group + "/farewell"
)

type reconciler struct {
	client.Client
	recorder record.EventRecorder
}

func gadget() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Gadget"})
	return object
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	found := gadget()
	if err := r.Get(ctx, request.NamespacedName, found); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !found.GetDeletionTimestamp().IsZero() {
		return ctrl.Result{}, r.farewell(ctx, found)
	}
	if controllerutil.AddFinalizer(found, finalizer) {
		return ctrl.Result{}, r.Update(ctx, found)
	}
	return ctrl.Result{}, r.keep(ctx, found)
}

// keep makes the Deployment as the Gadget wants it, and a status that says how far it is.
func (r *reconciler) keep(ctx context.Context, found *unstructured.Unstructured) error {
	size, _, _ := unstructured.NestedInt64(found.Object, "spec", "size")
	image, _, _ := unstructured.NestedString(found.Object, "spec", "image")
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: found.GetName(), Namespace: found.GetNamespace()}}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, deployment, func() error {
		replicas := int32(size)
		deployment.Spec.Replicas = &replicas
		deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"gadget": found.GetName()}}
		deployment.Spec.Template.Labels = deployment.Spec.Selector.MatchLabels
		if len(deployment.Spec.Template.Spec.Containers) == 0 {
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main"}}
		}
		deployment.Spec.Template.Spec.Containers[0].Image = image
		return controllerutil.SetControllerReference(found, deployment, r.Scheme())
	})
	if err != nil {
		return err
	}
	ready := int64(deployment.Status.ReadyReplicas)
	if known, there, _ := unstructured.NestedInt64(found.Object, "status", "ready"); there && known == ready {
		return nil
	}
	before := found.DeepCopy()
	if err := unstructured.SetNestedField(found.Object, ready, "status", "ready"); err != nil {
		return err
	}
	r.recorder.Eventf(found, corev1.EventTypeNormal, "Counted", "%d are ready", ready)
	return r.Status().Patch(ctx, found, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// farewell leaves something that outlives the Gadget, by server-side apply.
func (r *reconciler) farewell(ctx context.Context, found *unstructured.Unstructured) error {
	if !controllerutil.RemoveFinalizer(found, finalizer) {
		return nil
	}
	left := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name": "farewell-" + found.GetName(), "namespace": found.GetNamespace(),
	}}}
	apply := client.ApplyConfigurationFromUnstructured(left)
	if err := r.Apply(ctx, apply, client.FieldOwner(manager), client.ForceOwnership); err != nil {
		return err
	}
	return r.Update(ctx, found)
}

func run(name string) error {
	lease, renew, retry := 3*time.Second, 2*time.Second, 500*time.Millisecond
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Metrics:        server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: manager, LeaderElectionNamespace: "default",
		LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry,
	})
	if err != nil {
		return err
	}
	go func() {
		<-mgr.Elected()
		fmt.Println(name, "leads")
	}()
	work := &reconciler{mgr.GetClient(), mgr.GetEventRecorderFor(manager)}
	if err := ctrl.NewControllerManagedBy(mgr).For(gadget()).Owns(&appsv1.Deployment{}).Complete(work); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
